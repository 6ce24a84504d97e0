"""Who may look at whom in attention.

# M queries, N keys
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from calligram.nn.eager import eager


@dataclass(frozen=True)
class Mask:
    """Every query sees every key, but for what these take away.

    ``causal``: the last query is in line with the last key and none sees what comes after it, so that one query over a
    filled cache sees all of it and equal lengths give the usual lower triangle. ``seqlens``: the one row of the batch
    holds sequences of these lengths, one behind the other, which do not see each other. ``key_seqlens``: those of the
    keys, where they are not the queries', as where one learned query reads each sequence; not for causal masks.
    """

    causal: bool = False
    seqlens: tuple[int, ...] | None = None
    key_seqlens: tuple[int, ...] | None = None
    # (B, N): which keys of a row are seen at all, where some are of no account; not with seqlens
    keys_BN: Tensor | None = field(default=None, repr=False, compare=False)
    # asked for in place of seqlens by what is compiled, since dynamo would compile anew for each set of lengths
    packed: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "packed", self.seqlens is not None)
        if self.key_seqlens is not None and (self.causal or self.seqlens is None):
            raise ValueError("keys have lengths of their own only in a packed mask that is not causal")

    @property
    def lengths(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of the packed sequences' queries and keys."""
        assert self.seqlens is not None
        return self.seqlens, self.seqlens if self.key_seqlens is None else self.key_seqlens

    def of_layer(self, layer: int) -> "Mask":
        """The same for every layer."""
        return self

    def check(self, batch: int, num_queries: int, num_keys: int) -> None:
        """Raises ValueError where the mask cannot be meant for such queries and keys."""
        if self.packed:
            self._check_packed(batch, num_queries, num_keys)
        elif self.causal and num_queries > num_keys:
            raise ValueError(f"{num_queries} causal queries over {num_keys} keys: the first of them would see nothing")

    @eager
    def _check_packed(self, batch: int, num_queries: int, num_keys: int) -> None:
        queries, keys = self.lengths
        least = min(queries + keys, default=0)
        if least < 1:
            raise ValueError(f"a packed sequence has {least} tokens: leave empty ones out")
        if len(queries) != len(keys):
            raise ValueError(f"{len(queries)} packed sequences of queries and {len(keys)} of keys: give as many")
        if batch != 1 or (sum(queries), sum(keys)) != (num_queries, num_keys):
            tokens = f"{sum(queries)}" if queries == keys else f"{sum(queries)} and {sum(keys)}"
            raise ValueError(
                f"{len(queries)} sequences of {tokens} tokens are packed, but there are {batch} rows of "
                f"{num_queries} queries and {num_keys} keys: pack them into one row"
            )

    def matrix(self, num_queries: int, num_keys: int, device: torch.device | str = "cpu") -> Tensor:
        """The mask written out, (M, N), true where a query sees a key; M · N bytes. With keys, (B, 1, M, N)."""
        sees_MN = torch.ones(num_queries, num_keys, dtype=torch.bool, device=device)
        if self.causal:
            sees_MN = sees_MN.tril(num_keys - num_queries)
        if self.seqlens is not None:
            number = torch.arange(len(self.seqlens))
            sequence_M, sequence_N = (number.repeat_interleave(torch.tensor(x)).to(device) for x in self.lengths)
            sees_MN = sees_MN & (sequence_M[:, None] == sequence_N)
        return sees_MN if self.keys_BN is None else sees_MN & self.keys_BN[:, None, None]


FULL = Mask()


def one_query_each(seqlens: tuple[int, ...]) -> Mask:
    """For packed sequences of keys of these lengths, each of which one query reads as a whole."""
    return Mask(seqlens=(1,) * len(seqlens), key_seqlens=seqlens)
