"""Who sees whom in rows of text and then a picture: all before it, or the sparse kinds of DALL-E (arXiv 2102.12092).

# B batch, M queries, N keys, T places for text, C columns of the picture's grid
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from calligram.nn.mask import Mask

Kind = Literal["full", "row", "column", "convolution"]
Kinds = Literal["full", "row", "column", "convolution", "paper"]


def kinds_of_layers(kinds: Kinds, num_layers: int) -> tuple[Kind, ...]:
    """Of each layer. The paper's order (appendix B.1): column where (i − 2) mod 4 = 0, else row, last convolution."""
    if kinds != "paper":
        return (kinds,) * num_layers
    # layers are counted from 1 there
    rows: list[Kind] = ["column" if (i - 2) % 4 == 0 else "row" for i in range(1, num_layers)]
    return (*rows, "convolution")


@lru_cache(maxsize=64)
def distances(kind: Kind, grid: int, kernel: int) -> tuple[int, ...]:
    """How many tokens back, in raster order, an image token looks, itself (0) first.

    Rows: back to the one above it. Columns: every one above it. Convolution: what of a kernel's square around it is not
    behind it. Rows go on around the picture's edge, as in the paper's figure 11.
    """
    if kind == "full":
        return tuple(range(grid * grid))
    if kind == "row":
        return tuple(range(grid + 1))
    if kind == "column":
        return tuple(range(0, grid * grid, grid))
    half = kernel // 2
    around = {row * grid + column for row in range(half + 1) for column in range(-half, half + 1)}
    return tuple(sorted(distance for distance in around if 0 <= distance < grid * grid))


@dataclass(frozen=True, eq=False)
class PictureMask:
    """Text is causal, and every image token sees all of it and those image tokens that the layer's kind lets it see.

    The last query is in line with the last key, so that a filled cache needs nothing else. ``skip_B`` empty places
    stand before each row's text, which nobody sees. ``lengths`` in their stead: the one row holds texts of these
    lengths, each with its picture directly behind it and of ``num_image`` tokens, one sequence behind the other.
    """

    kinds: tuple[Kind, ...]
    num_text: int
    grid: int
    kernel: int
    skip_B: Tensor | None = None
    lengths: tuple[int, ...] | None = None
    num_image: int = 0
    kind: Kind = "full"

    def of_layer(self, layer: int) -> "PictureMask | Mask":
        """The mask of one layer, a plain one where that says the same."""
        if self.kinds[layer] == "full" and self.skip_B is None:
            return self.plain
        return replace(self, kind=self.kinds[layer])

    @property
    def plain(self) -> Mask:
        """As if every layer saw all."""
        if self.lengths is None:
            return Mask(causal=True)
        return Mask(causal=True, seqlens=tuple(length + self.num_image for length in self.lengths))

    def check(self, batch: int, num_queries: int, num_keys: int) -> None:
        """Raises ValueError where the mask cannot be meant for such queries and keys."""
        if self.lengths is not None:
            self.plain.check(batch, num_queries, num_keys)
        elif num_queries > num_keys:
            raise ValueError(f"{num_queries} causal queries over {num_keys} keys: the first of them would see nothing")

    def matrix(self, num_queries: int, num_keys: int, device: torch.device | str = "cpu") -> Tensor:
        """True where a query sees a key: (M, N), or (B, 1, M, N) where rows differ in their empty places."""
        sees = _matrix(self.kind, self.num_text, self.grid, self.kernel, num_queries, num_keys, torch.device(device))
        if self.skip_B is None:
            return sees
        key_N = torch.arange(num_keys, device=device)
        # an empty place sees itself, since a softmax over nothing is no number
        itself_MN = key_N == key_N[num_keys - num_queries :, None]
        return (sees & (key_N >= self.skip_B[:, None])[:, None] | itself_MN)[:, None]


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # the next to ask may need gradients
def _matrix(
    kind: Kind, num_text: int, grid: int, kernel: int, num_queries: int, num_keys: int, device: torch.device
) -> Tensor:
    key_N = torch.arange(num_keys)
    query_M1 = key_N[num_keys - num_queries :, None]
    back_MN = query_M1 - key_N
    looks = torch.zeros(num_keys, dtype=torch.bool)
    seen = torch.tensor(distances(kind, grid, kernel))
    looks[seen[seen < num_keys]] = True
    return ((back_MN >= 0) & ((key_N < num_text) | looks[back_MN.clamp(min=0)])).to(device)


@lru_cache(maxsize=4096)
@torch.inference_mode(False)
def seen_by(
    kind: Kind, num_text: int, grid: int, kernel: int, num_queries: int, num_keys: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Keys that any of the last M of N tokens sees, and of those who sees which, (M, n); None for all."""
    sees_MN = _matrix(kind, num_text, grid, kernel, num_queries, num_keys, torch.device("cpu"))
    (index_n,) = sees_MN.any(0).nonzero(as_tuple=True)
    sees_Mn = sees_MN[:, index_n]
    return index_n.to(device), None if bool(sees_Mn.all()) else sees_Mn.to(device)
