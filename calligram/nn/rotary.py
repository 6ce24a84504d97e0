"""Rotary positions (arXiv 2104.09864) of words and image tokens in one sequence.

# B batch, T tokens, K head width, P = K / 2 pairs of channels; 3: time, row and column
"""

from typing import Literal

import torch
from torch import Tensor

Layout = Literal["1d", "2d"]


def sections(head_width: int) -> tuple[int, int, int]:
    """How many pairs turn with time, row and column; of 64 pairs 24, 20 and 20, as in Qwen3-VL (arXiv 2511.21631)."""
    pairs = head_width // 2
    side = pairs * 5 // 16
    return pairs - 2 * side, side, side


def axis_of_pairs(head_width: int) -> Tensor:
    """0, 1 or 2 for each pair: time, row and column take turns, so that each has fast pairs and slow ones. (P,)."""
    pairs = torch.arange(head_width // 2)
    _, side, _ = sections(head_width)
    return torch.where(pairs < 3 * side, pairs % 3, 0)


def positions(index: Tensor, num_text: Tensor | int, grid: int, layout: Layout) -> Tensor:
    """Where tokens of a sequence are that begins with ``num_text`` words and goes on with a picture: (…, 3).

    A word is at the same place on all three axes. Behind them a picture stands still in time, in two dimensions: its
    first token has the place that the next word would have had (arXiv 2409.12191). In one it goes on as words do.
    """
    if layout == "1d":
        return index[..., None].expand(*index.shape, 3)
    image = index - num_text
    rows, columns = image // grid, image % grid
    picture = torch.stack([torch.zeros_like(image), rows, columns], -1) + (index - image)[..., None]
    return torch.where((image >= 0)[..., None], picture, index[..., None])


def rotation(positions_T3: Tensor, head_width: int, base: float) -> Tensor:
    """Cosine and sine by which each pair of channels turns: (…, T, P, 2), for ``calligram.nn.positions.rotate``."""
    device = positions_T3.device
    places = torch.arange(0, head_width, 2, dtype=torch.float32, device=device)
    frequencies_P = 1.0 / base ** (places / head_width)
    angles = positions_T3[..., axis_of_pairs(head_width).to(device)] * frequencies_P
    return torch.stack([angles.cos(), angles.sin()], -1)
