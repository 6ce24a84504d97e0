"""A measured number, and how far it could have come out otherwise had the data been drawn once more.

# N independent units of what was measured: pictures, captions, pairs
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

LEVEL = 0.95
RESAMPLES = 1000
AT_ONCE = 1 << 22  # drawn indices held at a time

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % percentile bootstrap interval, over ``count`` units."""

    value: float
    low: float
    high: float
    count: int

    def __float__(self) -> float:
        return self.value


def mean(values_N: Sequence[float] | NDArray | Tensor, seed: int = 0) -> Estimate:
    """The mean of one value a unit; of verdicts it is their share. Raises ValueError for no unit."""
    values = np.asarray(values_N.cpu() if isinstance(values_N, Tensor) else values_N, np.float64)
    if not values.size:
        raise ValueError("the mean of nothing")
    rng = np.random.default_rng(seed)
    rows = max(1, AT_ONCE // len(values))
    means = [
        values[rng.integers(0, len(values), (min(rows, RESAMPLES - start), len(values)))].mean(1)
        for start in range(0, RESAMPLES, rows)
    ]
    return _estimate(float(values.mean()), np.concatenate(means), len(values))


def mean_over_groups(values_N: Sequence[float], group_N: Sequence[str]) -> Estimate:
    """The mean of the groups' means: groups count alike, however many units they have."""
    values, (_, number_N) = np.asarray(values_N, np.float64), np.unique(np.asarray(group_N), return_inverse=True)

    def statistic(rows: Indices) -> float:
        sums, counts = np.bincount(number_N[rows], values[rows]), np.bincount(number_N[rows])
        return float((sums[counts > 0] / counts[counts > 0]).mean())

    return bootstrap(statistic, len(values))


def bootstrap(statistic: Callable[[Indices], float], count: int, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Any statistic of units given by their numbers, some of them several times in a resample."""
    rng = np.random.default_rng(seed)
    found = [statistic(rng.integers(0, count, count)) for _ in range(resamples)]
    return _estimate(statistic(np.arange(count)), np.array(found), count)


def _estimate(value: float, resampled: NDArray, count: int) -> Estimate:
    low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), count)
