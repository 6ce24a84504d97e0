"""How much drawings of one caption differ: a model that always draws the same has learnt a table, not a distribution.

# C captions, K drawings of each, D features
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from calligram.data.dataset import Shards
from calligram.eval.drawings import draw, spread
from calligram.eval.estimate import mean
from calligram.eval.sets import real
from calligram.eval.sheet import SheetRow, row_sheet
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.pictures import to_image

SHOWN = 6


class Diversity(EvalTask):
    """Mean distance between drawings of one caption in the space, and between real pictures of any two samples.

    As many drawings as for other comparisons, ``num_variants`` of each caption; the interval is over captions.
    ``distinct``: pictures of which no other of the same caption is the same in every pixel, as a share of all.
    """

    name = "diversity"
    needs = ("dalle", "space")

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        dalle, space = models.dalle, models.space
        assert dalle is not None and space is not None
        shards, number = Shards(data, config.split), config.num_variants
        samples = spread(len(shards), max(2, config.num_drawings // number))
        captions = [shards.read_captions(i)[0] for i in samples]
        first = (config.seed + 1) * 10**9  # seeds of their own: those of the drawings are small
        seeds = range(first, first + len(captions) * number)
        images = draw(dalle, [each for each in captions for _ in range(number)], seeds, "draw variants")
        feature_CKD = space.embed(images).unflatten(0, (-1, number))
        name = f"dalle.diversity_{space.name}"
        yield name, mean(mean_distance(feature_CKD))
        size = dalle.image_tokenizer.config.image_size
        theirs = real(space, data, config.split, size, config.num_reference).feature_BD
        if len(theirs) > 1:
            yield f"{name}.of_real_pictures", float(mean_distance(theirs[None]))
        yield f"{name}.distinct", mean([share for each in images.unflatten(0, (-1, number)) for share in alone(each)])
        yield f"{name}.drawings", variants_sheet(images.unflatten(0, (-1, number)), captions)


def mean_distance(feature_CKD: Tensor) -> Tensor:
    """Euclidean, over all pairs of a row: (C,)."""
    number = feature_CKD.shape[1]
    x = feature_CKD.double()
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")  # the same twice is at 0 exactly
    return distances.sum((1, 2)) / (number * (number - 1))


def alone(images: Tensor) -> list[bool]:
    """Whether no other picture is the same in every pixel."""
    keys = [image.numpy().tobytes() for image in images]
    return [keys.count(key) == 1 for key in keys]


def variants_sheet(images: Tensor, captions: list[str]) -> Image.Image:
    rows = spread(len(captions), SHOWN)
    return row_sheet([SheetRow(captions[i], [to_image(x) for x in images[i]], [""] * len(images[i])) for i in rows])
