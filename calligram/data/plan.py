"""Which samples make up which batch: a pure function of (seed, step), the same for any number of processes.

# n samples of the data set, B samples of a global batch
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from calligram.data.order import Order, RandomOrder


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
    order: Order | None = None  # of an epoch; None: random
    _epochs: dict[int, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def batch(self, step: int) -> list[SampleRef]:
        """The global batch of a step, counted from 0."""
        start = step * self.batch_size
        return [self._at(position) for position in range(start, start + self.batch_size)]

    def _at(self, position: int) -> SampleRef:
        epoch, place = divmod(position, self.num_samples)
        return SampleRef(int(self._permutation(epoch)[place]), position)

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            if len(self._epochs) >= 2:  # the epoch at hand and the one that a batch may reach into
                self._epochs.clear()
            order = self.order or RandomOrder(self.num_samples)
            self._epochs[epoch] = order(np.random.Generator(np.random.Philox(key=[self.seed, epoch])))
        return self._epochs[epoch]


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
