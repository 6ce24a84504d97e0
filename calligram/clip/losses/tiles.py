"""Scores of all pictures with all texts, of which only one tile exists at a time.

All is in base 2: scores are scale · log2(e) · ⟨picture, text⟩. ``exp2`` costs half as much as ``exp`` on a CPU, whose
library also takes twenty times as long wherever a result underflows.

# B pictures, C texts, E embedding; R rows and S columns of a tile
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor

LOG2_E, LN_2 = math.log2(math.e), math.log(2)
CPU_TILE, GPU_TILE = 1024, 4096  # rows and columns


class Tile(NamedTuple):
    """``scores_RS`` may be changed in place; ``x_RE`` are the pictures times scale · log2(e)."""

    rows: slice
    columns: slice
    x_RE: Tensor
    scores_RS: Tensor
    same_RS: Tensor | None  # where the labels are equal; None where they are nowhere


class Tiles:
    """Walks over tiles, in buffers that are used again."""

    def __init__(self, like: Tensor, size: int | None = None):
        # tiles with equal labels cost more: in a small batch smaller ones leave more of it without
        self.size = size or min(CPU_TILE if like.device.type == "cpu" else GPU_TILE, max(256, len(like) // 4))
        self._buffers = [like.new_empty(0), like.new_empty(0)]

    def walk(
        self, x_BE: Tensor, factor: Tensor, text_CE: Tensor, label_B: Tensor, label_C: Tensor, which: str = "all"
    ) -> Iterator[Tile]:
        """Every tile, row by row, or with ``which="shared"`` those alone in which labels are equal."""
        shared = shared_tiles(label_B, label_C, self.size)
        for i, rows in enumerate(slices(len(x_BE), self.size)):
            x_RE = x_BE[rows] * factor
            for j, columns in enumerate(slices(len(text_CE), self.size)):
                if shared[i][j] or which == "all":
                    scores_RS = self.product(x_RE, text_CE[columns])
                    same_RS = label_B[rows, None] == label_C[columns] if shared[i][j] else None
                    yield Tile(rows, columns, x_RE, scores_RS, same_RS)

    def product(self, x_RE: Tensor, y_SE: Tensor, buffer: int = 0) -> Tensor:
        return torch.mm(x_RE, y_SE.T, out=self.buffer(len(x_RE), len(y_SE), buffer))

    def buffer(self, rows: int, columns: int, number: int = 1) -> Tensor:
        """Memory for a tile; 0 is where ``walk`` puts the scores."""
        if len(self._buffers[number]) < rows * columns:
            self._buffers[number] = self._buffers[number].new_empty(rows * columns)
        return self._buffers[number][: rows * columns].view(rows, columns)


def slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def shared_tiles(label_B: Tensor, label_C: Tensor, size: int) -> list[list[bool]]:
    """In which tiles a row and a column have the same label, in memory linear in B and C."""
    num_columns = -(-len(label_C) // size)
    found = label_C.new_zeros(num_columns * size, dtype=torch.bool)
    tiles = []
    for label_R in label_B.split(size):
        found[: len(label_C)] = torch.isin(label_C, label_R)
        tiles.append(found.view(num_columns, size).any(1))
    return torch.stack(tiles).tolist()


Function = TypeVar("Function", bound=Callable)


def eager(function: Function) -> Function:
    """Keep torch.compile out, which would unroll the loop over tiles."""
    return cast(Function, torch.compiler.disable(function))


def working_dtype(image_BE: Tensor, text_CE: Tensor) -> torch.dtype:
    """fp64 stays, all else is computed in fp32."""
    return torch.promote_types(torch.promote_types(image_BE.dtype, text_CE.dtype), torch.float32)


def scale_gradient(x_BE: Tensor, gradient_BE: Tensor, scale: Tensor) -> Tensor:
    """The scale's, from features and their gradient, since scores are linear in both."""
    parts = [(x.double() * g.double()).sum() for x, g in zip(x_BE.split(512), gradient_BE.split(512), strict=True)]
    return (torch.stack(parts).sum() / scale.double()).to(scale.dtype)
