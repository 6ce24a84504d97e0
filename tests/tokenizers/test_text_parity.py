"""CLIP's ids must be open_clip's ids, whatever people write into captions."""

import importlib.util
import random
import string
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from calligram.tokenizers.text import TextTokenizer, clean

NUM_CAPTIONS = 10_000
# fmt: off
WORDS = [
    "a", "the", "of", "on", "photo", "picture", "dog", "cat", "red", "blue", "circle", "square", "Église", "naïve",
    "München", "San", "Francisco", "antidisestablishment", "iPhone", "T-shirt", "O'Neil", "rock'n'roll",
    "www.example.com/page?id=1&b=2", "@user", "#hashtag", "x²", "½", "3rd", "1,234.50€", "№5", "ⅷ", "ﬁne", "ſtraße",
    "ΑΣΙΑΣ", "Ελλάδα", "ИСТОРИЯ", "ıstanbul", "İstanbul", "ǅ", "ŉ", "ß", "ẞ", "e-mail", "snake_case", "CamelCase",
    "don't",
]
EMOJI = ["😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇫🇷", "🇯🇵🇧🇷", "👍🏽", "🧑🏿‍🚀", "❤️", "☕", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "\u200d", "\ufe0f", "🫠"]
FOREIGN = [
    "日本語の写真", "一只红色的猫", "한국어 사진", "ภาพถ่าย", "صورة قطة حمراء", "مَرْحَبًا", "שָׁלוֹם", "हिन्दी चित्र", "ქართული",
    "１２３ＡＢＣ", "カタカナ ﾊﾝｶｸ",
]
ENTITIES = [
    "&amp;", "&amp;amp;", "&lt;b&gt;", "&amp;lt;i&amp;gt;", "&quot;", "&#39;", "&#x27;s", "&#x1F600;", "&#0;",
    "&#1;", "&#xD800;", "&#xFB06;", "&nbsp;", "&eacute;", "&AMP", "&notit;", "&hellip;", "&amp;#39;s", "&#128;",
    "&;",
]
MOJIBAKE = [
    "l’humanitÃ©", "caf\u00c3\u00a9", "âœ” done", "donâ€™t", "Ã¼ber", "schÃ¶n", "â€œquotedâ€\x9d", "ðŸ˜€",
    "voilÃ\xa0 le",
]
SPECIALS = [
    "<|startoftext|>", "<|endoftext|>", "<start_of_text>", "<end_of_text>", "<START_OF_TEXT>",
    "<end_of_text><start_of_text>", "!<start_of_text>", "<start_of_text", "<\u017ftart_of_text>",
    "<&#xFB06;art_of_text>", "</w>", "<pad>",
]
CONTRACTIONS = [
    "'s", "'S", "'LL", "'ll", "'re", "'VE", "'m", "'d", "'T", "’s", "'\u017f", "''s", "it's", "WE'LL", "y'all'd've",
    "'tis",
]
CONTROLS = [
    "\x00", "\x07", "\x1b[31mred\x1b[0m", "\x7f", "\x85", "\u200b", "\u202e", "\ufeff", "\ufffd", "\u2028",
    "\ufff9", "\x1c", "\xad",
]
SURROGATES = ["\ud83d\ude00", "\ud83d", "\ude00", "\ud800x", "\udfff"]
SPACES = ["  ", "\t", "\n", "\r\n", "\u3000", "\xa0", "\u2003", " \n\t ", "\x0b", "\x0c"]
COMBINING = ["\u0301", "\u0308", "\u0323", "\u0345", "\u20e3", "\u0489", "\u094d", "\u3099"]
# fmt: on
# What Unicode 3.2 already knew: every later table of letters agrees on it.
OLD_CHARACTERS = [chr(code) for code in range(0x30000) if unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs")]

KINDS: dict[str, Callable[[random.Random], str]] = {
    "words": lambda rng: " ".join(rng.choices(WORDS, k=rng.randint(1, 20))),
    "emoji": lambda rng: _sprinkled(rng, EMOJI),
    "foreign scripts": lambda rng: _sprinkled(rng, FOREIGN),
    "combining accents": lambda rng: _on_letters(rng, COMBINING),
    "entities": lambda rng: _sprinkled(rng, ENTITIES),
    "white space": lambda rng: _sprinkled(rng, SPACES),
    "empty": lambda rng: "".join(rng.choices(SPACES, k=rng.randint(0, 3))),
    "contractions": lambda rng: _sprinkled(rng, CONTRACTIONS),
    "digits": lambda rng: " ".join(str(rng.randrange(10 ** rng.randint(1, 12))) for _ in range(rng.randint(1, 6))),
    "punctuation": lambda rng: _on_letters(rng, list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿…«»“”’—•™")),
    "control characters": lambda rng: _sprinkled(rng, CONTROLS),
    "surrogates": lambda rng: _sprinkled(rng, SURROGATES),
    "written-out specials": lambda rng: _sprinkled(rng, SPECIALS),
    "mojibake": lambda rng: _sprinkled(rng, MOJIBAKE),
    "any character": lambda rng: "".join(rng.choices(OLD_CHARACTERS, k=rng.randint(1, 25))),
    "very long": lambda rng: " ".join(rng.choices(WORDS + FOREIGN + EMOJI, k=rng.randint(25, 45))),
    "one long word": lambda rng: "".join(rng.choices("abcdefghijk日é", k=rng.randint(40, 90))),
}


def _sprinkled(rng: random.Random, extras: Sequence[str]) -> str:
    """Words with extras among them, glued to a neighbour or not."""
    pieces = rng.choices(WORDS, k=rng.randint(0, 6)) + rng.choices(extras, k=rng.randint(1, 5))
    rng.shuffle(pieces)
    return "".join(piece + rng.choice(("", " ")) for piece in pieces)


def _on_letters(rng: random.Random, extras: Sequence[str]) -> str:
    letters = "aeiouAEnsαςΩあ1 '"
    return "".join(rng.choice(letters) + "".join(rng.choices(extras, k=rng.randint(0, 2))) for _ in range(20))


@pytest.fixture(scope="module")
def captions() -> list[tuple[str, str]]:
    rng = random.Random(20240229)
    kinds = list(KINDS)
    return [(kind := kinds[index % len(kinds)], KINDS[kind](rng)) for index in range(NUM_CAPTIONS)]


@pytest.fixture(scope="module")
def peer() -> Any:
    """open_clip's tokenizer, from its one file: importing the whole package takes ten seconds."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "tokenizer.py"
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer_alone", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


@pytest.fixture(scope="module")
def ours() -> TextTokenizer:
    return TextTokenizer.clip()


@pytest.fixture(scope="module")
def our_ids(captions, ours) -> list[list[int]]:
    return [ours.encode(caption) for _, caption in captions]


def test_every_caption_has_the_peer_s_ids(captions, our_ids, peer):
    wrong: dict[str, list[str]] = {}
    for (kind, caption), ids in zip(captions, our_ids, strict=True):
        if ids != peer.encode(caption):
            wrong.setdefault(kind, []).append(caption)
    assert not wrong, {kind: (len(examples), examples[:3]) for kind, examples in wrong.items()}


@pytest.mark.parametrize("context_length", [5, 77])
def test_tables_agree_also_where_text_is_cut(captions, peer, context_length):
    texts = [caption for _, caption in captions[::20]]
    ours = TextTokenizer.clip(context_length)
    table = ours(texts)
    assert torch.equal(table, peer(texts, context_length=context_length))
    assert table.dtype == torch.long and table.shape == (len(texts), context_length)
    is_cut = torch.tensor([len(ours.encode(text)) > context_length - 2 for text in texts])
    assert 0 < is_cut.sum() < len(texts)
    assert (table[is_cut, -1] == ours.end_id).all()


def test_sizes_and_specials_are_the_peer_s(peer, ours):
    assert (ours.vocab_size, ours.context_length) == (peer.vocab_size, peer.context_length)
    assert (ours.start_id, ours.end_id) == (peer.sot_token_id, peer.eot_token_id)


def test_no_id_is_beyond_the_vocabulary(our_ids, ours):
    """The encoder keeps helper entries there, which must never come out."""
    used = set().union(*our_ids)
    assert len(used) > 500
    assert 0 <= min(used) < max(used) < ours.vocab_size


def test_cleaning_agrees_with_the_peer_s(captions, peer):
    for kind, caption in captions[::3]:
        assert clean(caption) == peer.clean_fn(caption), kind


def test_printable_ascii_needs_no_repair(peer):
    """The short cut of ``clean``: every pair of marks but "&" passes the repairs unchanged."""
    marks = [*string.punctuation.replace("&", ""), " ", "T", "1"]
    texts = [f"x{first}{second}Y" for first in marks for second in marks]
    assert [clean(text) for text in texts] == [peer.clean_fn(text) for text in texts]


def test_decoding_agrees_with_the_peer_s(captions, our_ids, peer, ours):
    for (kind, _), ids in list(zip(captions, our_ids, strict=True))[::7]:
        words = [index for index in ids if index not in (ours.start_id, ours.end_id)]
        assert ours.decode(words) == peer.decode(words).strip(), kind
