"""Sequences of several lengths, one behind the other in one row: only attention has to know where one ends.

# B sequences, T longest of them, M queries and N tokens of all together, H heads, G heads of keys, K head width
"""

from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from calligram.nn.eager import eager
from calligram.nn.mask import Mask, one_query_each


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a padded batch lie once its padding is gone; shorter sequences come first.

    ``mask`` keeps them apart; ``row_N`` and ``position_N`` say where a token was. ``end_B`` is the last token of each
    sequence in their new order, in which row b of the batch is number ``place_B[b]``.
    """

    mask: Mask
    row_N: Tensor
    position_N: Tensor
    end_B: Tensor
    place_B: Tensor

    @classmethod
    @eager
    def of(cls, length_B: Tensor, causal: bool) -> "Packing":
        """For rows of these lengths, 1 or more. In this order equal lengths are neighbours, see ``sdpa_by_length``."""
        sorted_B, row_B = length_B.sort(stable=True)
        start_B = sorted_B.cumsum(0) - sorted_B
        seqlens = tuple(sorted_B.tolist())
        num_tokens = sum(seqlens)
        row_N = row_B.repeat_interleave(sorted_B, output_size=num_tokens)
        start_N = start_B.repeat_interleave(sorted_B, output_size=num_tokens)
        place_B = torch.empty_like(row_B).index_copy(0, row_B, torch.arange(len(row_B), device=row_B.device))
        position_N = torch.arange(num_tokens, device=length_B.device) - start_N
        return cls(Mask(causal, seqlens), row_N, position_N, start_B + sorted_B - 1, place_B)

    @property
    def last_B(self) -> Tensor:
        """Where the last token of each row of the batch lies."""
        return self.end_B[self.place_B]

    @eager
    def one_query_each(self) -> Mask:
        """One query a sequence, which sees all of it, as the last of a causal one does."""
        return one_query_each(self.mask.seqlens or ())

    @eager
    def pays(self, width: int) -> bool:
        """Whether a Transformer of this width is faster on the packed row than on rows padded to the longest.

        On a GPU wherever there is padding. On a CPU packed attention makes one call for each length, and what a saved
        token would have cost grows with width². Measured there (benchmarks/packing.py), per length and in units of
        10⁶ tokens · width²: at 0.07 (8 texts of 10 tokens, width 128) packed takes 1.2 times as long, at 0.06
        (32 texts, width 64) 1.1 times, at 0.26 (32 texts, width 128) 0.9 times; 32 texts of 20 tokens, of very
        different lengths, at width 512 take 0.4 times as long.
        """
        seqlens = self.mask.seqlens or ()
        saved = len(seqlens) * max(seqlens, default=0) - sum(seqlens)
        if self.row_N.device.type != "cpu":
            return saved > 0
        return saved * width**2 > 150_000 * len(set(seqlens))


def firsts(seqlens: tuple[int, ...]) -> Tensor:
    """Where each sequence of a packed row begins, (B,)."""
    length_B = torch.tensor(seqlens)
    return length_B.cumsum(0) - length_B


# dynamo would compile anew for each set of lengths; around this call it goes on with N as the one size that varies
@eager
def packed_sdpa(q_1MHK: Tensor, k_1NGK: Tensor, v_1NGK: Tensor, mask: Mask) -> Tensor:
    """PyTorch's attention within each sequence: one call a length on a CPU, where calls are cheap, else one in all."""
    return (sdpa_by_length if q_1MHK.device.type == "cpu" else sdpa_padded)(q_1MHK, k_1NGK, v_1NGK, mask)


def sdpa_by_length(q_1MHK: Tensor, k_1NGK: Tensor, v_1NGK: Tensor, mask: Mask) -> Tensor:
    """Neighbours of equal length are a batch as they lie there: nothing is copied, no padding, no mask."""
    queries, keys = mask.lengths
    batches = [(len(list(run)), *lengths) for lengths, run in groupby(zip(queries, keys, strict=True))]
    shapes = [(number, length) for number, length, _ in batches], [(number, length) for number, _, length in batches]
    parts = []
    for q, k, v in zip(_cut(q_1MHK, shapes[0]), _cut(k_1NGK, shapes[1]), _cut(v_1NGK, shapes[1]), strict=True):
        causal = mask.causal and q.shape[2] > 1
        parts.append(_sdpa(q, k, v, is_causal=causal).transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)[None]


def _cut(x_1NHK: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
    parts = x_1NHK[0].split([number * length for number, length in shapes])
    return [x.unflatten(0, shape).transpose(1, 2) for x, shape in zip(parts, shapes, strict=True)]


def sdpa_padded(q_1MHK: Tensor, k_1NGK: Tensor, v_1NGK: Tensor, mask: Mask) -> Tensor:
    """A row for each sequence, padded to the longest; a causal query never comes to see the padding behind it."""
    queries, keys = (_Padding(lengths, q_1MHK.device) for lengths in mask.lengths)
    sees = None if mask.causal else keys.real_BT[:, None, None]
    q, k, v = queries.pad(q_1MHK), keys.pad(k_1NGK), keys.pad(v_1NGK)
    out_BHTK = _sdpa(q, k, v, attn_mask=sees, is_causal=mask.causal)
    return out_BHTK.transpose(1, 2).flatten(0, 1)[queries.index_N][None]


class _Padding:
    """Where the tokens of a packed row are in rows of equal length."""

    def __init__(self, seqlens: tuple[int, ...], device: torch.device):
        length_B = torch.tensor(seqlens).to(device)
        self.real_BT = torch.arange(max(seqlens), device=device) < length_B[:, None]
        (self.index_N,) = self.real_BT.flatten().nonzero(as_tuple=True)

    def pad(self, x_1NHK: Tensor) -> Tensor:
        rows = x_1NHK.new_zeros(self.real_BT.numel(), *x_1NHK.shape[2:]).index_copy(0, self.index_N, x_1NHK[0])
        return rows.unflatten(0, self.real_BT.shape).transpose(1, 2)


def _sdpa(q_BHTK: Tensor, k_BGTK: Tensor, v_BGTK: Tensor, **mask) -> Tensor:
    grouped = q_BHTK.shape[1] != k_BGTK.shape[1]
    return F.scaled_dot_product_attention(q_BHTK, k_BGTK, v_BGTK, enable_gqa=grouped, **mask)
