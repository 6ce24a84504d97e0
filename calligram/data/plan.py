"""Which samples make up which batch: a pure function of (seed, step), the same for any number of processes.

Every epoch, the shards of a source are put in a new random order and laid end to end. That line is cut into ``lanes``
of equal length. Each global batch takes as many samples from every lane, and each process owns as many neighbouring
lanes: whatever their number, the global batches stay, no process has more steps than another, and a process reads few
shards at a time. Inside a lane samples are shuffled within blocks of a few shards.

Nothing is drawn in sequence and nothing is remembered, so any step of any epoch is found in the same time.

# L lanes, B samples of a global batch, m = B / L samples of a lane in a batch, n samples of a lane in an epoch
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from calligram.data.mixing import Mixture
from calligram.data.permute import mix, mix_arrays, permute

MAX_LANES = 64
BLOCK = 4  # shards
_SHARDS, _TURN, _BLOCK = 1, 2, 3  # what a random number is for


class SampleRef(NamedTuple):
    """One sample to fetch: where it lies, and the number that seeds its augmentation and choice of caption."""

    source: int
    shard: int
    row: int
    position: int  # of the sample in the whole training


@dataclass(frozen=True)
class Plan:
    """An endless sequence of global batches. Compare two plans with ``==`` of what they were made of.

    ``counts[j]`` are the numbers of samples in the shards of source j, ``weights[j]`` is its share in every batch.
    """

    counts: tuple[tuple[int, ...], ...]
    batch_size: int
    seed: int
    weights: tuple[float, ...] = ()
    num_lanes: int = 0  # 0: as many as divide the batch, 64 at most
    block: int = BLOCK

    def __post_init__(self) -> None:
        if not self.num_lanes:
            object.__setattr__(self, "num_lanes", default_lanes(self.batch_size))
        if self.batch_size % self.num_lanes:
            raise ValueError(f"{self.num_lanes} lanes do not divide a batch of {self.batch_size}")

    @cached_property
    def _lanes(self) -> "tuple[_Lanes, ...]":
        return tuple(
            _Lanes(np.array(counts, np.int64), self.num_lanes, mix(self.seed, number), self.block)
            for number, counts in enumerate(self.counts)
        )

    @cached_property
    def _mixture(self) -> Mixture:
        return Mixture(self.weights or (1.0,) * len(self.counts), self.num_lanes)

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> list[SampleRef]:
        """What a process fetches for a step, counted from 0; by default the whole global batch."""
        if self.num_lanes % world_size:
            raise ValueError(f"{world_size} processes cannot share {self.num_lanes} lanes evenly")
        share, size = self.num_lanes // world_size, self.batch_size // self.num_lanes
        lanes = np.repeat(np.arange(rank * share, (rank + 1) * share), size)
        turns = step * size + np.tile(np.arange(size), share)  # how many samples the lane has given before
        positions = step * self.batch_size + lanes * size + np.tile(np.arange(size), share)
        sources, turns = self._mixture.split(lanes, turns)
        shards, rows = np.empty_like(lanes), np.empty_like(lanes)
        for number, source in enumerate(self._lanes):
            mine = sources == number
            if mine.any():
                shards[mine], rows[mine] = source.locate(lanes[mine], turns[mine])
        return [*map(SampleRef._make, zip(*(x.tolist() for x in (sources, shards, rows, positions)), strict=True))]

    def epoch(self, step: int) -> float:
        """How often the first source has been seen when a step begins."""
        return step * self.batch_size * self._mixture.share(0) / (self._lanes[0].length * self.num_lanes)


def default_lanes(batch_size: int) -> int:
    """The largest divisor of a batch that is 64 at most, so that most numbers of processes divide it, too."""
    return max(n for n in range(1, min(batch_size, MAX_LANES) + 1) if batch_size % n == 0)


class PlanSampler:
    """Batches of one process from ``first_step`` up to ``last_step``, for a DataLoader's ``batch_sampler``."""

    def __init__(self, plan: Plan, first_step: int, last_step: int, rank: int = 0, world_size: int = 1):
        self.plan, self.steps, self.rank, self.world_size = plan, range(first_step, last_step), rank, world_size

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[SampleRef]]:
        for step in self.steps:
            yield self.plan.batch(step, self.rank, self.world_size)


class _Epoch(NamedTuple):
    """The shards of an epoch in their order, written out twice, since the first lane may begin anywhere."""

    shards: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    turn: int  # where the first lane begins


class _Lanes:
    """The lanes of one source.

    A source of fewer samples than lanes is taken as often as there are lanes to fill. Samples that the lanes
    leave over are others in every epoch, since the first lane begins at a random place.
    """

    def __init__(self, counts: np.ndarray, num_lanes: int, key: int, block: int):
        self.filled = np.flatnonzero(counts)
        copies = -(-num_lanes // int(counts.sum()))
        self.numbers, self.sizes = np.tile(self.filled, copies), np.tile(counts[self.filled], copies)
        self.total = int(self.sizes.sum())
        self.length = self.total // num_lanes
        self.key, self.block = key, block
        self._epoch = lru_cache(maxsize=2)(self._lay_out)  # a batch may reach into the next

    def locate(self, lanes: np.ndarray, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shard and row of what each lane gives at its turn."""
        shards, rows = np.empty_like(lanes), np.empty_like(lanes)
        epochs, offsets = np.divmod(turns, self.length)
        for epoch in np.unique(epochs):
            mine = epochs == epoch
            shards[mine], rows[mine] = self._locate(int(epoch), lanes[mine], offsets[mine])
        return shards, rows

    def _locate(self, number: int, lanes: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        epoch = self._epoch(number)
        begin = epoch.turn + lanes * self.length
        first = np.searchsorted(epoch.ends, begin, side="right")
        block = (np.searchsorted(epoch.ends, begin + offsets, side="right") - first) // self.block
        last = np.minimum(first + (block + 1) * self.block, len(epoch.ends)) - 1
        low = np.maximum(begin, epoch.starts[first + block * self.block])
        high = np.minimum(begin + self.length, epoch.ends[last])
        keys = mix_arrays(self.key, np.full_like(lanes, _BLOCK), np.full_like(lanes, number), lanes, block)
        at = low + permute(begin + offsets - low, high - low, keys)
        place = np.searchsorted(epoch.ends, at, side="right")
        return epoch.shards[place], at - epoch.starts[place]

    def _lay_out(self, epoch: int) -> _Epoch:
        order = permute(np.arange(len(self.sizes)), len(self.sizes), mix(self.key, _SHARDS, epoch))
        sizes = np.tile(self.sizes[order], 2)
        ends = sizes.cumsum()
        return _Epoch(np.tile(self.numbers[order], 2), ends - sizes, ends, mix(self.key, _TURN, epoch) % self.total)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_epoch"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._epoch = lru_cache(maxsize=2)(self._lay_out)
