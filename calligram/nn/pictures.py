"""Pictures of several sizes, each size a batch of its own.

# B pictures, b of them of one size, C channels
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from calligram.nn.eager import eager


@dataclass(frozen=True)
class Pictures:
    """Small pictures first; those of one size, and before that of one number of pixels, are neighbours.

    ``groups`` are (b, C, H, W) each. ``place_B`` says where in that order each picture is.
    """

    groups: tuple[Tensor, ...]
    place_B: Tensor

    @classmethod
    @eager
    def of(cls, pictures: Sequence[Tensor]) -> "Pictures":
        """From pictures (C, H, W) in any order. Raises ValueError for none, and for what is no picture."""
        wrong = next((x for x in pictures if x.ndim != 3), None)
        if wrong is not None or not len(pictures):
            found = "none" if wrong is None else f"one of shape {tuple(wrong.shape)}"
            raise ValueError(f"pictures must be at least one, each of shape (3, H, W); here is {found}")
        order = sorted(range(len(pictures)), key=lambda i: _size(pictures[i]))
        runs = [list(run) for _, run in groupby(order, key=lambda i: _size(pictures[i]))]
        groups = tuple(torch.stack([pictures[i] for i in run]) for run in runs)
        place = [0] * len(order)
        for where, i in enumerate(order):
            place[i] = where
        return cls(groups, torch.tensor(place).to(groups[0].device))

    @eager
    def map(self, change: Callable[[Tensor], Tensor]) -> "Pictures":
        """The same change of every group."""
        return Pictures(tuple(change(images) for images in self.groups), self.place_B)


def _size(picture: Tensor) -> tuple[int, int, int]:
    height, width = picture.shape[-2:]
    return height * width, height, width
