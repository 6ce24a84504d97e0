"""CLIP score (arXiv 2104.08718): does a CLIP find the caption in what was drawn for it?

# B captions
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from calligram.clip.zero_shot import ClipPipeline
from calligram.data.dataset import Shards
from calligram.eval.drawings import Drawings, draw_split
from calligram.eval.estimate import mean
from calligram.eval.sets import read
from calligram.eval.sheet import SheetRow, row_sheet
from calligram.eval.spaces.clip import embed
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.pictures import to_image

SHOWN = 6


class ClipScore(EvalTask):
    """100 × max(cos, 0) of caption and drawing, on average; and of the caption and the real picture, to compare with.

    The CLIP that picks among candidates must not be the judge of what it picked: these are first drawings, no picks.
    """

    name = "clip-score"
    needs = ("dalle", "clip")

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.dalle is not None and models.clip is not None
        drawings = draw_split(models.dalle, data, config)
        size = models.dalle.image_tokenizer.config.image_size
        real = torch.cat(list(read(Shards(data, config.split), drawings.numbers, size, "read pictures")))
        score_B = scores(models.clip, drawings.images, drawings.captions)
        yield "dalle.clip_score.drawn", mean(score_B)
        yield "dalle.clip_score.real", mean(scores(models.clip, real, drawings.captions))
        yield "dalle.clip_score.best_and_worst", best_and_worst(drawings, score_B)


def scores(clip: ClipPipeline, images: Tensor, captions: tuple[str, ...]) -> Tensor:
    """(B,) of 0 … 100. A caption that is longer than the model reads is cut."""
    text_BE = clip.embed_texts(captions, strict=False)
    return 100 * (embed(clip, images) * text_BE).sum(-1).clamp(min=0).cpu()


def best_and_worst(drawings: Drawings, score_B: Tensor) -> Image.Image:
    order = score_B.argsort(descending=True, stable=True).tolist()
    number = min(SHOWN, len(order))
    chosen = {"scored highest": order[:number], "in the middle": _middle(order, number), "lowest": order[-number:]}
    return row_sheet(
        [
            SheetRow(
                title,
                [to_image(drawings.images[i]) for i in rows],
                [f"{score_B[i]:.0f}: {drawings.captions[i]}" for i in rows],
            )
            for title, rows in chosen.items()
        ]
    )


def _middle(order: list[int], number: int) -> list[int]:
    start = (len(order) - number) // 2
    return order[start : start + number]
