"""Who may look at whom in attention.

# M queries, N keys
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from calligram.nn.eager import eager


@dataclass(frozen=True)
class Mask:
    """Every query sees every key, but for what these two take away.

    ``causal``: the last query is in line with the last key and none sees what comes after it, so that one query over a
    filled cache sees all of it and equal lengths give the usual lower triangle. ``seqlens``: the one row of the batch
    holds sequences of these lengths, one behind the other, which do not see each other.
    """

    causal: bool = False
    seqlens: tuple[int, ...] | None = None
    # asked for in place of seqlens by what is compiled, since dynamo would compile anew for each set of lengths
    packed: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "packed", self.seqlens is not None)

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
        lengths = self.seqlens or (0,)
        if min(lengths) < 1:
            raise ValueError(f"a packed sequence has {min(lengths)} tokens: leave empty ones out")
        if batch != 1 or not sum(lengths) == num_queries == num_keys:
            raise ValueError(
                f"{len(lengths)} sequences of {sum(lengths)} tokens are packed, but there are {batch} rows of "
                f"{num_queries} queries and {num_keys} keys: pack them into one row"
            )

    def matrix(self, num_queries: int, num_keys: int, device: torch.device | str = "cpu") -> Tensor:
        """The mask written out, (M, N), true where a query sees a key; M · N bytes."""
        sees_MN = torch.ones(num_queries, num_keys, dtype=torch.bool, device=device)
        if self.causal:
            sees_MN = sees_MN.tril(num_keys - num_queries)
        if self.seqlens is not None:
            sequence_N = torch.arange(len(self.seqlens)).repeat_interleave(torch.tensor(self.seqlens)).to(device)
            sees_MN = sees_MN & (sequence_N[:, None] == sequence_N)
        return sees_MN


FULL = Mask()
