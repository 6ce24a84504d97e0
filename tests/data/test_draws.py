from collections import Counter

import numpy as np
import pytest

from calligram.data.draws import Draws


def test_the_same_seeds_give_the_same_numbers_for_ever():
    """A change here is a change of everybody's augmentation."""
    draws = Draws(3, 14)
    assert [draws.integers(0, 1000) for _ in range(5)] == [689, 249, 57, 331, 618]
    assert Draws(3, 14).random() == Draws(3, 14).random() != Draws(14, 3).random()


def test_numbers_are_even_over_seeds_that_follow_each_other():
    """As the samples of a training do."""
    first = np.array([Draws(0, position).random() for position in range(20_000)])
    assert first.min() >= 0 and first.max() < 1
    assert first.mean() == pytest.approx(0.5, abs=0.01)
    assert np.histogram(first, 10, (0, 1))[0] == pytest.approx([2000] * 10, abs=250)
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.03


def test_numbers_of_a_sample_do_not_hang_together():
    pairs = np.array([(draws.random(), draws.random()) for draws in map(Draws, range(20_000))])
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.03


def test_whole_numbers_reach_both_ends():
    draws = Draws(1)
    counts = Counter(draws.integers(-2, 3) for _ in range(10_000))
    assert sorted(counts) == [-2, -1, 0, 1, 2]
    assert list(counts.values()) == pytest.approx([2000] * 5, abs=250)
    assert draws.integers(7, 8) == 7


def test_uniform_stays_between_its_bounds():
    draws = Draws(2)
    values = [draws.uniform(-1, 3) for _ in range(5_000)]
    assert -1 <= min(values) < -0.9 and 2.9 < max(values) < 3
