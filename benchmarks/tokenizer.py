"""CLIP's text tokenizer beside open_clip's, same ids: python benchmarks/tokenizer.py [--quick]"""

import random
from collections.abc import Callable, Iterator

import open_clip
import torch
from harness import Row, paired_seconds, run, throughput_row

from calligram.tokenizers.text import TextTokenizer

PEER = "open_clip"
PACKAGES = ("open_clip_torch", "tokenizers", "ftfy", "regex", "torch")
DECORATIONS = ("café", "“quoted”", "don’t", "😀", "👨‍👩‍👧", "日本語", "naïve", "&amp;", "10 €", "l’humanitÃ©")


def measure(quick: bool) -> Iterator[Row]:
    num_captions, repeats = (2_000, 5) if quick else (10_000, 9)
    ours, peer = TextTokenizer.clip(), open_clip.get_tokenizer("ViT-B-32")
    english = english_captions(num_captions, seed=1)
    corpora = {
        "English": english,
        "1 in 10 beyond ASCII": decorated(english, every=10, seed=2),
        "all beyond ASCII": decorated(english, every=1, seed=3),
        "short prompts": [f"a photo of a {caption.split()[0]}." for caption in english],
    }
    for name, captions in corpora.items():
        check_same(ours, peer, captions)
        pairs = paired_seconds(lambda c=captions: ours(c), lambda c=captions: peer(c), repeats=repeats)
        yield throughput_row(name, "captions", len(captions), pairs, PEER)
    some = english[: num_captions // 5]
    pairs = paired_seconds(lambda: one_by_one(ours, some), lambda: one_by_one(peer, some), repeats=repeats)
    yield throughput_row("English, one a call", "captions", len(some), pairs, PEER)
    pairs = paired_seconds(lambda: first_time(english), lambda: first_time_peer(english), repeats=max(3, repeats // 3))
    yield throughput_row("English, first use", "captions", len(english), pairs, PEER)


def english_captions(count: int, seed: int) -> list[str]:
    """Sentences of 5 to 20 words, the words as frequent as their place in CLIP's vocabulary suggests (Zipf)."""
    words = frequent_words()
    weights = [1 / (rank + 10) for rank in range(len(words))]
    rng = random.Random(seed)
    sentences = (rng.choices(words, weights, k=rng.randint(5, 20)) for _ in range(count))
    return [" ".join(sentence).capitalize() + rng.choice(("", ".", "!", ", 2019")) for sentence in sentences]


def frequent_words(count: int = 20_000) -> list[str]:
    vocabulary = open_clip.tokenizer.SimpleTokenizer().encoder  # in the order in which merges were learnt
    whole = (token.removesuffix("</w>") for token in vocabulary if token.endswith("</w>"))
    return [word for word in whole if len(word) > 1 and word.isascii() and word.isalpha()][:count]


def decorated(captions: list[str], every: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [f"{text} {rng.choice(DECORATIONS)}" if i % every == 0 else text for i, text in enumerate(captions)]


def check_same(ours: TextTokenizer, peer: Callable[[list[str]], torch.Tensor], captions: list[str]) -> None:
    if not torch.equal(ours(captions), peer(captions)):
        raise AssertionError("the ids differ, so the times mean nothing")


def one_by_one(tokenizer: Callable[[str], torch.Tensor], captions: list[str]) -> None:
    for caption in captions:
        tokenizer(caption)


def first_time(captions: list[str]) -> None:
    TextTokenizer.clip()(captions)


def first_time_peer(captions: list[str]) -> None:
    open_clip.tokenizer.SimpleTokenizer()(captions)


if __name__ == "__main__":
    run("tokenizer", measure, PACKAGES)
