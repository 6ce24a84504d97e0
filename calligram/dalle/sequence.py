"""Texts of different lengths with their pictures directly behind them: packed into one row, or aligned in a batch.

# B batch, T places for text, S = T + image tokens of a row, N tokens of all rows together, D width
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from calligram.nn.packed import Packing


@dataclass(frozen=True)
class PackedRows:
    """Where the tokens of padded rows, (B, S), lie in one row without padding: shorter sequences first.

    ``index_N`` is a token's place in its own sequence, ``num_text_N`` how many of that are text. ``lengths`` are those
    of the texts, in the order of the packed row.
    """

    lengths: tuple[int, ...]
    index_N: Tensor
    num_text_N: Tensor
    place_N: Tensor  # of the padded rows, one behind the other
    text_place_BT: Tensor  # and the way back: of all text tokens but the last place,
    image_place_BI: Tensor  # and from the token that the first image token follows on

    @classmethod
    def of(cls, length_B: Tensor, num_text: int, num_image: int) -> "PackedRows":
        """For texts of these lengths in ``num_text`` places, with ``num_image`` tokens behind them."""
        packing = Packing.of(length_B + num_image, causal=True)
        lengths = tuple(total - num_image for total in packing.mask.seqlens or ())
        num_text_N = length_B[packing.row_N]
        index_N = packing.position_N
        padded_N = torch.where(index_N < num_text_N, index_N, index_N - num_text_N + num_text)
        start_B1 = (packing.last_B + 1 - length_B - num_image)[:, None]
        place_T = torch.arange(num_text - 1, device=length_B.device)
        text_place_BT = torch.where(place_T < length_B[:, None], start_B1 + place_T, -1)
        place_I = torch.arange(num_image + 1, device=length_B.device)
        return cls(
            lengths,
            index_N,
            num_text_N,
            packing.row_N * (num_text + num_image) + padded_N,
            text_place_BT,
            start_B1 + length_B[:, None] - 1 + place_I,
        )

    def pack(self, x_BSD: Tensor) -> Tensor:
        """(B, S, D) → (1, N, D)."""
        return x_BSD.flatten(0, 1)[self.place_N][None]

    def unpack(self, hidden_1ND: Tensor) -> tuple[Tensor, Tensor]:
        """Of text, (B, T − 1, D), zeros behind its end, and of what predicts image tokens, (B, image tokens + 1, D)."""
        hidden_ND = hidden_1ND[0]
        text_BTD = hidden_ND[self.text_place_BT.clamp(min=0)]
        behind = (self.text_place_BT < 0)[..., None]
        return text_BTD.masked_fill(behind, 0), hidden_ND[self.image_place_BI]


def right_aligned(x_BTD: Tensor, skip_B: Tensor) -> Tensor:
    """Each row moved to the right by so many places; what stands in the empty ones is of no meaning."""
    place_BT = (torch.arange(x_BTD.shape[1], device=x_BTD.device) - skip_B[:, None]).clamp(min=0)
    return x_BTD.gather(1, place_BT[..., None].expand_as(x_BTD))
