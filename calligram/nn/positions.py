"""Where a token of a picture is: fixed tables, rotations, and tables of another grid's size.

# B batch, T tokens in raster order, D width, H heads, K head width, P = K / 2 pairs of channels
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SINCOS_BASE = 10_000  # wavelengths up to this many cells (arXiv 1706.03762)
ROTARY_BASE = 100  # pictures have tens of cells a side, not thousands of words (arXiv 2403.13298)
Grid = tuple[int, int]  # rows and columns of patches


def sincos_2d(grid: int | Grid, width: int) -> Tensor:
    """Sines and cosines of column and row (arXiv 2111.06377), (T, D); a quarter of the width each."""
    if width % 4:
        raise ValueError(f"width {width} is not divisible by 4, as sin-cos positions in two dimensions need")
    frequencies = _frequencies(width // 4, SINCOS_BASE)
    angles = [torch.outer(place.flatten(), frequencies) for place in _columns_and_rows(grid)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).float()


def rotary_2d(grid: int | Grid, head_width: int) -> Tensor:
    """By which angle each pair of a head's channels turns, as cosine and sine: (T, P, 2) (arXiv 2403.13298).

    Half of the pairs turn with the column, half with the row, so that the product of a query and a key depends
    on how far they are apart, not on where they are.
    """
    if head_width % 4:
        raise ValueError(f"head width {head_width} is not divisible by 4, as rotary positions need")
    frequencies = _frequencies(head_width // 4, ROTARY_BASE)
    angles = torch.cat([torch.outer(place.flatten(), frequencies) for place in _columns_and_rows(grid)], dim=1)
    return torch.stack([angles.cos(), angles.sin()], dim=-1).float()


def rotate(x_BTHK: Tensor, rotation: Tensor) -> Tensor:
    """Turns each pair of channels: ``rotation`` is (T, P, 2), or (B, T, P, 2) where samples differ in their tokens."""
    cos, sin = rotation.to(x_BTHK.dtype).unsqueeze(-3).unbind(-1)
    first, second = x_BTHK.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1).flatten(-2)


def resize_positions(table_TD: Tensor, num_tokens: int) -> Tensor:
    """A learned table for another size of picture: bicubic over its square grid, as ViT fine-tunes (arXiv 2010.11929).

    Rows before the grid, such as a class token's, stay: there are as many as are too many for a square of the
    nearest size. Raises ValueError where no square fits.
    """
    if len(table_TD) == num_tokens:
        return table_TD
    before, after = math.isqrt(len(table_TD)), math.isqrt(num_tokens)
    first = len(table_TD) - before**2
    if first != num_tokens - after**2 or first > 1:
        raise ValueError(f"{len(table_TD)} positions are no square grid that {num_tokens} could be made of")
    grid = table_TD[first:].float().T.unflatten(1, (before, before))[None]
    resized = F.interpolate(grid, size=(after, after), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([table_TD[:first], resized[0].flatten(1).T.to(table_TD.dtype)])


def interpolate_positions(table_TD: Tensor, before: Grid, after: Grid) -> Tensor:
    """A learned table for a picture of another grid: bilinear, as NaFlex was trained with (arXiv 2502.14786).

    In fp32 at least, and with a gradient, since the table is trained by pictures of every grid.
    """
    table = table_TD.float() if table_TD.dtype.itemsize < 4 else table_TD
    cells = table.T.unflatten(1, before)[None]
    resized = F.interpolate(cells, size=after, mode="bilinear", antialias=True, align_corners=False)
    return resized[0].flatten(1).T.to(table_TD.dtype)


def _frequencies(number: int, base: float) -> Tensor:
    return base ** -(torch.arange(number, dtype=torch.float64) / number)


def _columns_and_rows(grid: int | Grid) -> tuple[Tensor, Tensor]:
    height, width = (grid, grid) if isinstance(grid, int) else grid
    places = torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64)
    rows, columns = torch.meshgrid(*places, indexing="ij")
    return columns, rows
