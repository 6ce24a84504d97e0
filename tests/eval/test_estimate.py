import math

import numpy as np
import pytest
import torch

from calligram.eval.estimate import bootstrap, mean, mean_over_groups


def test_the_interval_of_a_share_is_that_of_the_normal_approximation():
    verdicts = torch.arange(1000) % 10 < 3
    found = mean(verdicts)
    assert found.value == pytest.approx(0.3) and found.count == 1000 and float(found) == found.value
    half = 1.96 * math.sqrt(0.3 * 0.7 / 1000)
    assert found.low == pytest.approx(0.3 - half, abs=0.004) and found.high == pytest.approx(0.3 + half, abs=0.004)


def test_nineteen_in_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    held = [(e := mean(rng.exponential(2.0, 80), seed=n)).low <= 2.0 <= e.high for n in range(300)]
    assert 0.90 <= np.mean(held) <= 0.98


def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(0).random(50)
    assert mean(values) == mean(torch.tensor(values)) != mean(values, seed=1)


def test_any_statistic():
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap(lambda rows: float(np.median(values[rows])), 400)
    assert found.value == np.median(values) and found.low < found.value < found.high
    half = 1.96 * math.sqrt(math.pi / 2 / 400)  # of a normal distribution's median
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.25)


def test_nothing_has_no_mean():
    with pytest.raises(ValueError, match="mean of nothing"):
        mean([])


def test_groups_count_alike_however_many_units_they_have():
    values, groups = [1.0] * 90 + [0.0, 1.0] * 5, ["large"] * 90 + ["small"] * 10
    found = mean_over_groups(values, groups)
    assert found.value == pytest.approx(0.75) and found.count == 100
    assert 0.5 < found.low < 0.7 and 0.8 < found.high <= 1  # five of ten may well have been three or seven
