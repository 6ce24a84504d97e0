"""Winoground's question (arXiv 2204.03162): two pictures, two captions that differ in little; what belongs to what?

A guess reaches a quarter of the text and of the image score, and a sixth of the group score.

# P pairs, two pictures and two captions each
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from calligram.data.manifest import Manifest
from calligram.eval.estimate import mean
from calligram.eval.features import embed_rows, read_all_words
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.eval.twins import Twins, twins


class Winoground(EvalTask):
    """Text, image and group score over pairs found among the pictures of a split, and of each kind of pair."""

    name = "winoground"
    needs = ("clip",)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        clip = models.clip
        assert clip is not None
        words = read_all_words(clip, data, config.split, config.max_samples)
        pairs = twins(words, Manifest.load(data).class_names)
        if pairs:
            rows = [row for each in pairs for row in each.rows]
            image_P2E = embed_rows(clip, data, config.split, rows).image_BE.unflatten(0, (-1, 2))
            texts = [caption for each in pairs for caption in each.captions]
            text_P2E = clip.embed_texts(texts, strict=False).unflatten(0, (-1, 2))
            yield from by_kind(pairs, verdicts(torch.einsum("pie,pte->pit", image_P2E, text_P2E).cpu()))
            yield "clip.winoground.num_pairs", len(pairs)


def verdicts(score_P22: Tensor) -> dict[str, Tensor]:
    """Right answers (P,) of each score, from similarities (pair, picture, caption)."""
    own = score_P22.diagonal(dim1=1, dim2=2)  # (P, 2)
    other = score_P22.flip(2).diagonal(dim1=1, dim2=2)  # each picture with the caption that is not its own
    text = (own > other).all(1)
    image = (own > other.flip(1)).all(1)  # each caption with the picture that is not its own
    return {"text": text, "image": image, "group": text & image}


def by_kind(pairs: list[Twins], right: dict[str, Tensor]) -> Iterator[tuple[str, Value]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for place, each in enumerate(pairs):
        rows[each.kind].append(place)
    for score, right_P in right.items():
        yield f"clip.winoground.{score}_score", mean(right_P)
        for kind, places in rows.items():
            yield f"clip.winoground.{kind}_{score}_score", mean(right_P[places])
