"""Keys and values in the order in which the C code reads them.

# L layers, B batch, G heads of keys and values, N capacity in tokens, K head width
"""

from torch import Tensor

from calligram.nn.native import memory

LANES = 8  # tokens of a block of keys


class BlockCache:
    """As ``calligram.nn.cache.KVCache``, head by head; keys in blocks of eight tokens, whose scores are one vector.

    ``skip_B``: empty places before each row. ``rotation``: (1 or B, N, K / 2, 2), by how much each place turns.
    """

    def __init__(self, num_layers: int, batch: int, capacity: int, num_groups: int, head_width: int):
        capacity = -(-capacity // LANES) * LANES
        self.keys = memory.empty((num_layers, batch, num_groups, capacity // LANES, head_width, LANES))
        self.values = memory.empty((num_layers, batch, num_groups, capacity, head_width))
        self.capacity, self.length = capacity, 0
        self.skip_B: Tensor | None = None
        self.rotation: Tensor | None = None

    @property
    def batch(self) -> int:
        return self.keys.shape[1]

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first ``length``."""
        if not 0 <= length <= self.length:
            raise ValueError(f"a cache of {self.length} tokens cannot be cut to {length}")
        self.length = length

    def select(self, rows: Tensor) -> "BlockCache":
        """A cache whose batch is ``rows`` of this one; only what is filled is copied."""
        num_layers, _, num_groups, _, head_width, _ = self.keys.shape
        other = BlockCache(num_layers, len(rows), self.capacity, num_groups, head_width)
        blocks = -(-self.length // LANES)
        other.keys[:, :, :, :blocks] = self.keys[:, rows, :, :blocks]
        other.values[:, :, :, : self.length] = self.values[:, rows, :, : self.length]
        other.length = self.length
        other.skip_B = None if self.skip_B is None else self.skip_B[rows]
        shared = self.rotation is None or len(self.rotation) == 1
        other.rotation = self.rotation if shared or self.rotation is None else self.rotation[rows]
        return other

    def rows(self, first: int, last: int) -> "BlockCache":
        """The rows from ``first`` to ``last`` − 1 as a cache of their own length in the same memory."""
        part = BlockCache.__new__(BlockCache)
        part.keys, part.values = self.keys[:, first:last], self.values[:, first:last]
        part.capacity, part.length = self.capacity, self.length
        part.skip_B = None if self.skip_B is None else self.skip_B[first:last]
        shared = self.rotation is None or len(self.rotation) == 1
        part.rotation = self.rotation if shared or self.rotation is None else self.rotation[first:last]
        return part
