"""Intervals of values that a percentile bootstrap would miss.

Drawn with replacement, a set has pictures twice and so less spread than its source: distances between sets come out
larger in every resample than measured, and their percentiles lie beside the value. Their standard deviation serves.
"""

from calligram.eval.estimate import Estimate

WIDTH = 1.96  # standard errors to either side: 95 % of a normal distribution


def normal(value: float, standard_error: float, count: int, lowest: float | None = None) -> Estimate:
    """A value with its 95 % interval; ``lowest`` is what it cannot fall below."""
    low, high = value - WIDTH * standard_error, value + WIDTH * standard_error
    return Estimate(value, low if lowest is None else max(low, min(lowest, value)), high, count)
