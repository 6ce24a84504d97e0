import numpy as np
import pytest

from calligram.data.mixing import PERIOD, Mixture
from calligram.errors import UserError


def deal(mixture: Mixture, lane: int, count: int) -> tuple[list[int], list[int]]:
    sources, turns = mixture.split(np.full(count, lane), np.arange(count))
    return sources.tolist(), turns.tolist()


@pytest.mark.parametrize("weights", [(1, 1), (5, 3, 2), (0.7, 0.29, 0.01), (1000, 1)])
def test_a_source_is_never_far_from_its_share(weights):
    mixture = Mixture(weights, num_lanes=8)
    shares = np.array(weights) / sum(weights)
    for lane in range(8):
        sources, _ = deal(mixture, lane, 3 * PERIOD)
        given = (np.array(sources)[:, None] == np.arange(len(weights))).cumsum(0)
        due = np.arange(1, len(sources) + 1)[:, None] * shares
        assert np.abs(given - due).max() < 2 + 3 * PERIOD / PERIOD / 2  # a share is a whole 1,024th


def test_the_turns_of_each_source_count_up_one_by_one():
    mixture = Mixture((5, 3, 2), num_lanes=3)
    for lane in range(3):
        sources, turns = deal(mixture, lane, 2 * PERIOD + 17)
        for source in range(3):
            mine = [turn for s, turn in zip(sources, turns, strict=True) if s == source]
            assert mine == list(range(len(mine)))


def test_lanes_begin_at_different_places_so_that_batches_are_mixed():
    mixture = Mixture((3, 1), num_lanes=64)
    for turn in range(50):
        sources, _ = mixture.split(np.arange(64), np.full(64, turn))
        assert 12 <= int((sources == 1).sum()) <= 20


def test_one_source_is_all():
    sources, turns = Mixture((0.3,), 4).split(np.arange(4), np.array([0, 5, 10**12, 7]))
    assert sources.tolist() == [0] * 4 and turns.tolist() == [0, 5, 10**12, 7]


@pytest.mark.parametrize("weights", [(1, 0), (1, -1), (1, float("nan")), (10**5, 1)])
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(UserError, match=r"weights .*: (give a number above 0|the smallest is less than one sample)"):
        Mixture(weights, 4)
