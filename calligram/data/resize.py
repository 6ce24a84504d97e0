"""A box of a decoded picture → the model's square, some ten times as fast as Pillow does it.

torch's antialiased bicubic filter is Pillow's, with vector instructions; but it scales whole pictures, not a box with a
fraction of a pixel in its corners. So some pixels more are taken on every side, such that the grid of the larger
region is the box's own, and what is over is cut off.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from calligram.pictures import Box

REACH = 2  # pixels of the coarser grid that the bicubic filter looks to either side
TOLERANCE = 0.005  # of an output pixel; moving a detailed photograph by it changes it by 0.1 of 255


class Span(NamedTuple):
    """One axis: the pixels ``start`` to ``stop`` become, times ``scale``, pixels of which ``skip`` are in front."""

    start: int
    stop: int
    scale: float
    skip: int


def resize_box(pixels: np.ndarray, box: Box, size: int) -> Tensor:
    """uint8 (H, W, 3) → uint8 (3, size, size), a view. Near its rim the filter may see what is beyond the box."""
    height, width, _ = pixels.shape
    if (width, height) == (size, size) and box == (0, 0, width, height):
        return torch.from_numpy(pixels).permute(2, 0, 1)
    left, top, right, bottom = box
    x, y = find_span(left, right, width, size), find_span(top, bottom, height, size)
    # torch would copy it, too, pixel by pixel
    region = torch.from_numpy(np.ascontiguousarray(pixels[y.start : y.stop, x.start : x.stop])).permute(2, 0, 1)[None]
    scaled = F.interpolate(region, scale_factor=(y.scale, x.scale), mode="bicubic", antialias=True)
    return scaled[0, :, y.skip : y.skip + size, x.skip : x.skip + size]


def has_grid(box: Box, size: int) -> bool:
    """True where :func:`resize_box` puts every pixel where it belongs, else up to half of one beside it."""
    left, top, right, bottom = box
    return all(
        _off_grid(start - _find_skip(start, step) * step, step) <= TOLERANCE
        for start, step in ((left, (right - left) / size), (top, (bottom - top) / size))
    )


def find_span(start: float, stop: float, extent: int, size: int) -> Span:
    """The region whose grid of output pixels has the ``size`` pixels of ``start`` … ``stop`` in it."""
    step = (stop - start) / size  # pixels that become one
    skip = _find_skip(start, step)
    margin = REACH * max(step, 1.0) if skip else 0  # a crop of whole pixels is scaled as it is, like torchvision's
    first = round(start - skip * step)
    last = min(extent, math.ceil(stop + margin - 1e-6))
    # rounded up, so that the number of output pixels, which is rounded down, does not fall one short
    scale = max(1 / step, (skip + size) / (last - first)) * (1 + 1e-6)
    return Span(first, last, scale, skip)


@lru_cache(maxsize=1024)  # asked for again when the crop is cut, and for each picture of the same size
def _find_skip(start: float, step: float) -> int:
    """The fewest output pixels in front of ``start`` with which the region begins at a whole pixel."""
    skips = range(int(start / step + 1e-6) + 1)
    near = (skip for skip in skips if _off_grid(start - skip * step, step) <= TOLERANCE)
    nearest = next(near, None)
    return min(skips, key=lambda skip: _off_grid(start - skip * step, step)) if nearest is None else nearest


def _off_grid(place: float, step: float) -> float:
    """In output pixels."""
    return abs(place - round(place)) / step
