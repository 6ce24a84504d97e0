"""The small encoding: lossless on any text, the same each time, frugal with words it knows."""

import random
import subprocess
import sys
from itertools import product

import pytest

from calligram.errors import UserError
from calligram.tokenizers.small_bpe import train_small_bpe
from calligram.tokenizers.text import TextTokenizer, clean

SIZES, COLOURS, SHAPES = (
    ("small", "large"),
    ("red", "green", "blue", "yellow"),
    ("circle", "square", "triangle", "star"),
)
CAPTIONS = [
    f"A {size} {colour} {shape} above a {other} {shape_below}, on white"
    for size, colour, shape, other, shape_below in product(SIZES, COLOURS, SHAPES, COLOURS, SHAPES)
]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train(CAPTIONS, vocab_size=512)


def test_specials_come_first_and_sizes_hold(tokenizer):
    assert (tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id) == (0, 1, 2)
    assert 259 < tokenizer.vocab_size <= 512
    assert tokenizer(CAPTIONS).max() < tokenizer.vocab_size


def test_known_words_are_one_token_wherever_they_stand(tokenizer):
    for word in (*SIZES, *COLOURS, *SHAPES, "above"):
        assert len(tokenizer.encode(word)) == 1, word
        assert tokenizer.encode(f"a {word}")[-1:] == tokenizer.encode(word.upper())
    for caption in CAPTIONS[:20]:
        assert len(tokenizer.encode(caption)) == len(caption.replace(",", " ,").split())


def test_any_text_comes_back_as_cleaned(tokenizer):
    rng = random.Random(7)
    ranges = (
        (0x20, 0x7F),
        (0x20, 0x250),
        (0x300, 0x370),
        (0x590, 0x1100),
        (0x2000, 0x3100),
        (0x1F000, 0x1FB00),
        (0, 0x110000),
    )
    for _ in range(3000):
        low, high = rng.choice(ranges)
        text = "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(0, 30)))
        if rng.random() < 0.3:
            text += rng.choice(CAPTIONS) + rng.choice(("", " ", "\n\t", "&amp;", "\ud800"))
        assert tokenizer.decode(tokenizer.encode(text)) == clean(text)


@pytest.mark.parametrize("text", ["<pad>", "<start>", "a <end> b", "<pad><pad>", "</w>", "<end"])
def test_written_out_specials_are_plain_text(text):
    tokenizer = TextTokenizer.train([*CAPTIONS, *["<pad> <start> <end>"] * 200], vocab_size=600)
    ids = tokenizer.encode(text)
    assert not {tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id} & set(ids)
    assert tokenizer.decode(tokenizer(text)[0]) == text


def test_training_does_not_depend_on_order():
    shuffled = random.Random(3).sample(CAPTIONS, len(CAPTIONS))
    fingerprints = {
        TextTokenizer.train(captions, 450).fingerprint for captions in (CAPTIONS, CAPTIONS, shuffled, iter(shuffled))
    }
    assert len(fingerprints) == 1


def test_training_is_the_same_in_another_process():
    code = (
        "import sys; from calligram.tokenizers.small_bpe import train_small_bpe;"
        "print(train_small_bpe(sys.stdin.read().splitlines(), 450).to_str())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], input="\n".join(CAPTIONS), capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == train_small_bpe(CAPTIONS, 450).to_str()


def test_vocabulary_is_checked_and_never_padded_out():
    with pytest.raises(UserError, match=r"vocab_size 258 is too small.* need 259"):
        TextTokenizer.train(CAPTIONS, vocab_size=258)
    bytes_only = TextTokenizer.train(CAPTIONS, vocab_size=259)
    assert bytes_only.vocab_size == 259
    assert bytes_only.decode(bytes_only.encode("Élan 😀")) == "élan 😀"
    assert TextTokenizer.train(["abc"], vocab_size=4096).vocab_size == 259  # no pair comes up twice


def test_no_captions_is_an_error():
    with pytest.raises(UserError, match="no captions"):
        TextTokenizer.train([])
