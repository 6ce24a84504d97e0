import numpy as np

from calligram.data.order import SimilarOrder
from calligram.data.plan import Plan

COLOURS, SHAPES = ("red", "green", "blue", "pink"), ("star", "ring", "cross")
CAPTIONS = [(f"a {colour} {shape}", f"there is a {shape}") for colour in COLOURS for shape in SHAPES] * 5


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_sample_comes_once():
    for number in (1, 7, 59, 60):
        order = SimilarOrder(CAPTIONS[:number], 4)
        assert sorted(order(generator(0)).tolist()) == list(range(number))


def test_the_same_generator_gives_the_same_order():
    order = SimilarOrder(CAPTIONS, 4)
    assert np.array_equal(order(generator(1)), SimilarOrder(CAPTIONS, 4)(generator(1)))
    assert not np.array_equal(order(generator(1)), order(generator(2)))


def test_a_group_shares_words_now_of_one_kind_and_now_of_another():
    order = SimilarOrder(CAPTIONS, 4)
    alike = {"colour": [], "shape": []}
    for seed in range(40):
        for group in order(generator(seed)).reshape(-1, 4):
            captions = [CAPTIONS[i][0].split() for i in group]
            alike["colour"].append(len({caption[1] for caption in captions}) == 1)
            alike["shape"].append(len({caption[2] for caption in captions}) == 1)
    # of four at random 1 in 64 has one colour and 1 in 27 one shape
    assert 0.3 < np.mean(alike["colour"]) < 0.9
    assert 0.3 < np.mean(alike["shape"]) < 0.9


def test_groups_lie_whole_in_batches_of_their_multiples():
    plan = Plan(len(CAPTIONS), 12, seed=0, order=SimilarOrder(CAPTIONS, 4))
    batches = [[ref.index for ref in plan.batch(step)] for step in range(5)]
    assert sorted(i for batch in batches for i in batch) == list(range(60))
    again = Plan(len(CAPTIONS), 12, seed=0, order=SimilarOrder(CAPTIONS, 4))
    assert [ref.index for ref in again.batch(4)] == batches[4]
