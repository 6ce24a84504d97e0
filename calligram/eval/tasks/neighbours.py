"""Does a DALL-E draw pictures that it was trained on? Each drawing beside the nearest training picture.

# B drawings or pictures, T training pictures, D features
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.eval.drawings import Drawings, draw_split
from calligram.eval.estimate import mean
from calligram.eval.sets import drawn, real
from calligram.eval.sheet import SheetRow, row_sheet
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.pictures import to_image

SHOWN = 8
ROWS = 128  # drawings at a time, so that memory stays small


class Neighbours(EvalTask):
    """Shares of drawings no farther from a training picture than half, and than 5 %, of the unseen real ones are.

    0.5 and 0.05 are what pictures of the same source give; far more is memory. Distances are those of the space,
    and ``distance`` beside ``test_distance`` their means. Only ``num_neighbours`` training pictures are searched;
    ``searched`` is their share, and a copy of another one is not noticed: ask for all where it has to be certain.
    """

    name = "neighbours"
    needs = ("dalle", "space")

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return bool(data.splits.get(config.split) and data.splits.get(config.train_split))

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        dalle, space = models.dalle, models.space
        assert dalle is not None and space is not None
        size = dalle.image_tokenizer.config.image_size
        seen = real(space, data, config.train_split, size, config.num_neighbours)
        unseen = real(space, data, config.split, size, config.num_reference)
        drawings = draw_split(dalle, data, config)
        distance_B, nearest_B = nearest(drawn(space, dalle, data, config), seen.feature_BD)
        test_B, _ = nearest(unseen.feature_BD, seen.feature_BD)
        name = f"dalle.neighbours_{space.name}"
        for part, share in (("half", 0.5), ("5_percent", 0.05)):
            yield f"{name}.as_near_as_{part}", mean(distance_B <= torch.quantile(test_B, share))
        yield f"{name}.distance", mean(distance_B)
        yield f"{name}.test_distance", mean(test_B)
        yield f"{name}.num_training_pictures", len(seen)
        yield f"{name}.searched", len(seen) / Manifest.load(data).num_samples(config.train_split)
        numbers = [seen.numbers[i] for i in nearest_B.tolist()]
        yield f"{name}.pairs", pairs(drawings, distance_B, numbers, Shards(data, config.train_split), size)


def nearest(x_BD: Tensor, train_TD: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the nearest training picture and its row, (B,) each. A copy is at 0 exactly."""
    found = [
        torch.cdist(part, train_TD, compute_mode="donot_use_mm_for_euclid_dist").min(1) for part in x_BD.split(ROWS)
    ]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


def pairs(drawings: Drawings, distance_B: Tensor, numbers: Sequence[int], train: Shards, size: int) -> Image.Image:
    """The drawings that are nearest to a training picture, above these."""
    rows = distance_B.argsort(stable=True).tolist()[:SHOWN]
    theirs = [train.read_square(*train.locate(numbers[i]), size) for i in rows]
    return row_sheet(
        [
            SheetRow(
                "nearest drawings", [to_image(drawings.images[i]) for i in rows], [drawings.captions[i] for i in rows]
            ),
            SheetRow(
                "training picture nearest to each",
                [to_image(x) for x in theirs],
                [f"{distance_B[i]:.3f}" for i in rows],
            ),
        ]
    )
