"""The table of ids, strictness, decoding, files and trimming, on both kinds of tokenizer."""

import hashlib
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from calligram.errors import UserError
from calligram.tokenizers import clip_bpe
from calligram.tokenizers import text as text_module
from calligram.tokenizers.text import TextTokenizer, clean, trim_to_longest

CAPTIONS = ["A red circle above a blue square", "a blue circle", "two green triangles on black", "a red square"] * 10


@pytest.fixture(scope="module", params=["clip", "small"])
def tokenizer(request) -> TextTokenizer:
    return TextTokenizer.clip(16) if request.param == "clip" else TextTokenizer.train(CAPTIONS, 400, 16)


def test_rows_are_start_words_end_padding(tokenizer):
    texts = ["a red circle", "", "a blue square above a red circle"]
    table = tokenizer(texts)
    assert table.dtype == torch.long and table.shape == (3, 16)
    for row, text in zip(table.tolist(), texts, strict=True):
        full = [tokenizer.start_id, *tokenizer.encode(text), tokenizer.end_id]
        assert row == full + [tokenizer.pad_id] * (16 - len(full))


def test_one_text_is_a_batch_of_one(tokenizer):
    assert torch.equal(tokenizer("a red circle"), tokenizer(["a red circle"]))
    assert tokenizer([]).shape == (0, 16)


def test_long_text_is_cut_and_still_ends(tokenizer):
    text = "red blue " * 20
    row = tokenizer(text)[0].tolist()
    assert row == [tokenizer.start_id, *tokenizer.encode(text)[:14], tokenizer.end_id]


def test_strict_names_text_count_and_limit(tokenizer):
    text = "red " * 100
    count = len(tokenizer.encode(text)) + 2
    with pytest.raises(UserError, match=rf"'red red .*…' has {count} tokens .* 16 ") as caught:
        tokenizer(["a red circle", text], strict=True)
    assert len(str(caught.value)) < 200
    exactly_full = "red " * 14
    assert len(tokenizer.encode(exactly_full)) == 14
    assert torch.equal(tokenizer(exactly_full, strict=True), tokenizer(exactly_full))
    with pytest.raises(UserError, match="17 tokens"):
        tokenizer(exactly_full + "red", strict=True)


def test_encoding_word_by_word_is_encoding_the_whole(tokenizer):
    """The slow twin of remembered words: the Rust encoder on the whole cleaned text."""
    pieces = [
        "red",
        "circle's",
        "'s",
        "'",
        "¡",
        "3rd",
        "日本 語",
        "😀",
        "\u0301x",
        "a-b",
        "<end_of_text>",
        " ",
        "  ",
        "\n",
    ]
    rng = random.Random(11)
    for _ in range(500):
        text = "".join(rng.choices(pieces, k=rng.randint(0, 9)))
        assert tokenizer.encode(text) == tokenizer._bpe.encode(clean(text)).ids


def test_what_is_remembered_stays_small(monkeypatch):
    remembering = TextTokenizer.train(CAPTIONS, 400, 16)
    monkeypatch.setattr(text_module, "_MAX_REMEMBERED_IDS", 40)
    sizes = []
    for number in range(200):
        text = f"red circle {number} and nothing-{number}"
        assert remembering.encode(text) == remembering._bpe.encode(text).ids
        sizes.append(sum(map(len, remembering._ids_of_word.values())))
    assert max(sizes) < 100
    assert max(sizes) > 40


def test_threads_share_a_tokenizer(monkeypatch):
    monkeypatch.setattr(text_module, "_MAX_REMEMBERED_IDS", 40)
    shared = TextTokenizer.train(CAPTIONS, 400, 16)
    texts = [f"red circle {number % 50} beside square {number}" for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(shared.encode, texts))
    assert answers == [shared._bpe.encode(text).ids for text in texts]


def test_decode_drops_what_is_not_text(tokenizer):
    text = "a red circle above a blue square"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer(text)[0]) == text
    assert tokenizer.decode(tokenizer("")[0]) == ""
    assert tokenizer.decode(tokenizer.encode("Héllo, 日本 😀!")).replace(" ", "") == "héllo,日本😀!"


def test_clip_decodes_exclamation_marks_though_they_pad():
    tokenizer = TextTokenizer.clip()
    ids = tokenizer.encode("wow !<")
    assert tokenizer.pad_id in ids
    assert tokenizer.decode(tokenizer("wow !<")[0]) == tokenizer.decode(ids) == "wow !<"


@pytest.mark.parametrize("offset", [0, 7])
def test_decode_refuses_foreign_ids(tokenizer, offset):
    with pytest.raises(UserError, match=f"id {tokenizer.vocab_size + offset} is not in the vocabulary"):
        tokenizer.decode([tokenizer.vocab_size + offset])
    with pytest.raises(UserError, match="id -1 "):
        tokenizer.decode([-1])


def test_save_and_load_give_the_same_tokenizer(tokenizer, tmp_path):
    path = tmp_path / "new" / "text.json"
    tokenizer.save(path)
    loaded = TextTokenizer.load(path)
    for name in ("context_length", "vocab_size", "pad_id", "start_id", "end_id", "fingerprint"):
        assert getattr(loaded, name) == getattr(tokenizer, name), name
    texts = ["A red circle!", "It's 3 <end_of_text> <end> 日本 😀", "", "red " * 50]
    assert torch.equal(loaded(texts), tokenizer(texts))
    assert [loaded.decode(row) for row in loaded(texts)] == [tokenizer.decode(row) for row in tokenizer(texts)]
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert loaded.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def test_fingerprints_tell_tokenizers_apart():
    tokenizers = [
        TextTokenizer.clip(),
        TextTokenizer.train(CAPTIONS, 300),
        TextTokenizer.train(CAPTIONS, 300, context_length=33),
        TextTokenizer.train(CAPTIONS, 310),
        TextTokenizer.train(["other captions"] * 9, 310),
    ]
    assert len({tokenizer.fingerprint for tokenizer in tokenizers}) == len(tokenizers)
    assert TextTokenizer.clip().fingerprint == tokenizers[0].fingerprint


def test_load_explains_what_is_wrong(tmp_path):
    missing = tmp_path / "missing.json"
    with pytest.raises(UserError, match=r"cannot read a tokenizer from .*missing\.json"):
        TextTokenizer.load(missing)
    for content in ("not json", "[]", "{}", json.dumps({"tokenizer": {"model": 3}})):
        path = tmp_path / "broken.json"
        path.write_text(content)
        with pytest.raises(UserError, match=r"broken\.json is not a saved text tokenizer"):
            TextTokenizer.load(path)


def test_context_needs_room_for_a_word():
    with pytest.raises(UserError, match="context_length 2 "):
        TextTokenizer.clip(context_length=2)
    assert TextTokenizer.clip(context_length=3)("red square").shape == (1, 3)


def test_missing_vocabulary_says_what_to_install(monkeypatch):
    monkeypatch.setattr(clip_bpe.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install open_clip_torch"):
        TextTokenizer.clip()


def test_clip_does_not_import_open_clip(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip.tokenizer", None)  # an import of it would now raise
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.setattr(clip_bpe.importlib.util, "find_spec", _find_spec_past_sys_modules)
    assert TextTokenizer.clip().vocab_size == 49408


def _find_spec_past_sys_modules(name):
    import importlib.machinery

    return importlib.machinery.PathFinder.find_spec(name)


def test_trim_keeps_every_caption_whole(tokenizer):
    texts = ["a red circle", "", "a blue square above"]
    table = tokenizer(texts)
    trimmed = trim_to_longest(table, tokenizer.end_id)
    assert trimmed.shape == (3, max(len(tokenizer.encode(text)) for text in texts) + 2)
    assert torch.equal(trimmed, table[:, : trimmed.shape[1]])
    assert (table[:, trimmed.shape[1] :] == tokenizer.pad_id).all()


def test_trim_counts_the_first_end_and_rows_without_one():
    end = 9
    assert trim_to_longest(torch.tensor([[1, 9, 0, 9], [1, 2, 9, 9]]), end).shape == (2, 3)
    assert trim_to_longest(torch.tensor([[1, 9, 0, 0], [1, 2, 3, 4]]), end).shape == (2, 4)
    assert trim_to_longest(torch.empty(0, 4, dtype=torch.long), end).shape == (0, 4)
