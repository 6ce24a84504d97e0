"""Training pictures at their own aspect ratio, in whole patches (arXiv 2307.06304), and a batch of them on its way.

# B pictures, N values of all of them
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from calligram.data.decode import decode_image
from calligram.data.draws import Draws
from calligram.data.transforms import AugmentConfig, change
from calligram.pictures import Box, native_size, to_tensor

PICTURES, SIZES = "image", "image_sizes"  # in a batch


@dataclass(frozen=True)
class Native:
    """How large a picture becomes: the largest of at most ``max_patches`` squares of ``patch`` pixels a side."""

    patch: int
    max_patches: int
    filter: Image.Resampling

    def read(self, data: bytes, augment: AugmentConfig, draws: Draws) -> Tensor:
        """A random crop, shift and mirror image of an encoded picture, as configured. uint8 (3, H, W)."""
        image = decode_image(data)
        box = draw_share(image.size, augment, draws)
        image = image if box is None else image.crop(box)
        extent = native_size(image.size, self.patch, self.max_patches)
        image = image if image.size == extent else image.resize(extent, self.filter)
        return change(to_tensor(image), augment, draws)


def draw_share(extent: tuple[int, int], config: AugmentConfig, draws: Draws) -> Box | None:
    """What to keep of a picture: a share of both sides, so that it keeps its aspect ratio; None for all of it."""
    if config.scale is not None:
        share = math.sqrt(draws.uniform(*config.scale))
    elif config.min_crop < 1:
        share = draws.uniform(config.min_crop, 1)
    else:
        return None
    width, height = (max(1, round(side * share)) for side in extent)
    left, top = draws.integers(0, extent[0] - width + 1), draws.integers(0, extent[1] - height + 1)
    return left, top, left + width, top + height


def pack(pictures: Sequence[Tensor]) -> dict[str, Tensor]:
    """A batch's pictures (3, H, W) as one tensor (N,) and their sizes (B, 2), heights first.

    Between processes each tensor takes a file descriptor, of which a list of pictures would soon have used up all.
    """
    sizes = torch.tensor([x.shape[1:] for x in pictures])
    return {PICTURES: torch.cat([x.reshape(-1) for x in pictures]), SIZES: sizes}


def unpack(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch with its pictures as a list of (3, H, W), which share their memory; any other as it is."""
    if SIZES not in batch:
        return batch
    rest = {name: x for name, x in batch.items() if name not in (PICTURES, SIZES)}
    sizes = [(height, width) for height, width in batch[SIZES].tolist()]
    parts = batch[PICTURES].split([3 * height * width for height, width in sizes])
    return rest | {PICTURES: [x.view(3, *size) for x, size in zip(parts, sizes, strict=True)]}
