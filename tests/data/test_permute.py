import itertools
import math
from collections import Counter

import numpy as np
import pytest

from calligram.data.permute import mix, mix_arrays, permute


@pytest.mark.parametrize("size", [1, 2, 3, 10, 64, 65, 128, 129, 1000, 65_536, 65_537])
def test_every_place_is_taken_once(size):
    places = permute(np.arange(size), size, mix(size))
    assert np.array_equal(np.sort(places), np.arange(size))
    assert places.dtype == np.int64


def test_a_position_is_mapped_alone_as_among_others():
    sizes, keys = np.array([5, 1000, 77, 1]), np.array([1, 2, 3, 4], np.uint64)
    positions = np.array([4, 999, 0, 0])
    together = permute(positions, sizes, keys)
    alone = [int(permute(positions[[i]], int(sizes[i]), int(keys[i]))[0]) for i in range(4)]
    assert together.tolist() == alone


def test_the_order_of_a_key_is_the_same_for_ever():
    """What a run of years ago was trained on; a change here is a change of everybody's data order."""
    assert permute(np.arange(12), 12, mix(0)).tolist() == [7, 9, 4, 8, 11, 1, 10, 2, 3, 6, 5, 0]
    assert permute(np.arange(6), 200, mix(0)).tolist() == [64, 96, 120, 15, 49, 114]
    assert mix(0) == 16294208416658607535 and mix(1, 2) == 16216609496213459576


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_all_orders_of_few_items_are_equally_frequent(size):
    draws, orders = 20_000, math.factorial(size)
    keys = np.repeat(mix_arrays(7, np.arange(draws)), size)
    found = permute(np.tile(np.arange(size), draws), size, keys).reshape(draws, size)
    counts = Counter(map(tuple, found.tolist()))
    expected = draws / orders
    chi_square = sum((counts[order] - expected) ** 2 / expected for order in itertools.permutations(range(size)))
    assert abs(chi_square - (orders - 1)) < 5 * math.sqrt(2 * (orders - 1))


@pytest.mark.parametrize("size", [129, 5_000])
def test_neighbours_part(size):
    distances = []
    for seed in range(100_000 // size):
        places = permute(np.arange(size), size, mix(seed)).astype(float)
        distances.append(np.abs(np.diff(places)).mean() / (size / 3))  # a third of the length is what chance gives
        assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 6 / math.sqrt(size)
    assert np.mean(distances) == pytest.approx(1, abs=0.01)


def test_keys_depend_on_all_numbers_and_on_their_order():
    keys = [mix(0), mix(1), mix(0, 0), mix(0, 1), mix(1, 0), mix(2**64 - 1), mix(-2)]
    assert len(set(keys)) == len(keys)
    assert mix_arrays(0, np.array([4, 5]), np.array([6, 7])).tolist() == [mix(4, 6), mix(5, 7)]
