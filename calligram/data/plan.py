"""Which samples make up which batch: a pure function of (seed, step), the same for any number of processes.

# n samples of the data set, B samples of a global batch
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SampleRef:
    """One sample to fetch: where it lies, and the number that seeds its augmentation and choice of caption."""

    index: int
    seed: int


@dataclass(frozen=True)
class Plan:
    """An endless sequence of shuffled epochs, cut into global batches; a batch may span two epochs."""

    num_samples: int
    batch_size: int
    seed: int

    def batch(self, step: int) -> list[SampleRef]:
        """The global batch of a step, counted from 0."""
        start = step * self.batch_size
        return [self._at(position) for position in range(start, start + self.batch_size)]

    def _at(self, position: int) -> SampleRef:
        epoch, place = divmod(position, self.num_samples)
        return SampleRef(int(_permutation(self.seed, epoch, self.num_samples)[place]), position)


class PlanSampler:
    """Batches of one process from ``first_step`` up to ``last_step``, for a DataLoader's ``batch_sampler``."""

    def __init__(self, plan: Plan, first_step: int, last_step: int, rank: int = 0, world_size: int = 1):
        if plan.batch_size % world_size:
            raise ValueError(f"batch_size {plan.batch_size} is not divisible by the {world_size} processes")
        self.plan, self.steps = plan, range(first_step, last_step)
        share = plan.batch_size // world_size
        self.mine = slice(rank * share, (rank + 1) * share)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[SampleRef]]:
        for step in self.steps:
            yield self.plan.batch(step)[self.mine]


_cache: dict[tuple[int, int, int], np.ndarray] = {}


def _permutation(seed: int, epoch: int, num_samples: int) -> np.ndarray:
    key = (seed, epoch, num_samples)
    if key not in _cache:
        if len(_cache) >= 2:  # the epoch at hand and the one that a batch may reach into
            _cache.clear()
        _cache[key] = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(num_samples)
    return _cache[key]
