"""Keys and values of the tokens seen so far, in memory that is allocated once.

# L layers, B batch, N capacity in tokens, H heads, K head width
"""

from copy import copy

import torch
from torch import Tensor


class KVCache:
    """Static cache for step-by-step decoding: every layer writes its new tokens after the old ones."""

    def __init__(
        self,
        num_layers: int,
        batch: int,
        capacity: int,
        num_heads: int,
        head_width: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        shape = (num_layers, batch, capacity, num_heads, head_width)
        self.keys_LBNHK = torch.empty(shape, device=device, dtype=dtype)
        self.values_LBNHK = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0
        self.skip_B: Tensor | None = None  # empty places at the beginning of each row, where rows differ in length

    def append(self, layer: int, k_BMHK: Tensor, v_BMHK: Tensor) -> tuple[Tensor, Tensor]:
        """Store M new tokens of one layer; returns all its keys and values so far, without a copy."""
        end = self.length + k_BMHK.shape[1]
        if end > self.keys_LBNHK.shape[2]:  # a slice would drop a single token beyond it without a word
            raise ValueError(f"{end} tokens are more than the cache's capacity of {self.keys_LBNHK.shape[2]}")
        self.keys_LBNHK[layer, :, self.length : end] = k_BMHK
        self.values_LBNHK[layer, :, self.length : end] = v_BMHK
        return self.keys_LBNHK[layer, :, :end], self.values_LBNHK[layer, :, :end]

    def advance(self, num_tokens: int) -> None:
        """Count the tokens that all layers have stored; called once a forward pass."""
        self.length += num_tokens

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first ``length``."""
        if not 0 <= length <= self.length:
            raise ValueError(f"a cache of {self.length} tokens cannot be cut to {length}")
        self.length = length

    def select(self, rows: Tensor) -> "KVCache":
        """A cache whose batch is ``rows`` of this one, e.g. one prefilled prompt for many candidates."""
        num_layers, _, capacity, num_heads, head_width = self.keys_LBNHK.shape
        device, dtype = self.keys_LBNHK.device, self.keys_LBNHK.dtype
        other = KVCache(num_layers, len(rows), capacity, num_heads, head_width, device, dtype)
        other.keys_LBNHK[:, :, : self.length] = self.keys_LBNHK[:, rows, : self.length]
        other.values_LBNHK[:, :, : self.length] = self.values_LBNHK[:, rows, : self.length]
        other.length = self.length
        other.skip_B = None if self.skip_B is None else self.skip_B[rows]
        return other

    def rows(self, first: int, last: int) -> "KVCache":
        """The rows from ``first`` to ``last`` − 1 as a cache of their own length in the same memory."""
        part = copy(self)
        part.keys_LBNHK = self.keys_LBNHK[:, first:last]
        part.values_LBNHK = self.values_LBNHK[:, first:last]
        part.skip_B = None if self.skip_B is None else self.skip_B[first:last]
        return part
