import random

import pytest
import torch

from calligram.nn.mask import Mask


def test_the_matrix_says_who_sees_whom():
    causal = Mask(causal=True).matrix(2, 3)
    assert causal.tolist() == [[True, True, False], [True, True, True]]
    packed = Mask(causal=True, seqlens=(2, 1)).matrix(3, 3)
    assert packed.tolist() == [[True, False, False], [True, True, False], [False, False, True]]
    assert Mask(seqlens=(2, 1)).matrix(3, 3).sum() == 5
    assert Mask().matrix(2, 3).all()
    one_query_each = Mask(seqlens=(1, 1), key_seqlens=(2, 1)).matrix(2, 3)
    assert one_query_each.tolist() == [[True, True, False], [False, False, True]]


@pytest.mark.parametrize(
    ("mask", "sizes", "message"),
    [
        (Mask(causal=True), (1, 7, 5), "7 causal queries over 5 keys"),
        (Mask(seqlens=(3, 4)), (1, 8, 8), "2 sequences of 7 tokens are packed, but there are 1 rows of 8 queries"),
        (Mask(seqlens=(3, 4)), (1, 7, 8), "and 8 keys"),
        (Mask(seqlens=(3, 4)), (2, 7, 7), "2 rows of 7 queries"),
        (Mask(seqlens=(3, 0, 4)), (1, 7, 7), "a packed sequence has 0 tokens"),
        (Mask(seqlens=()), (1, 0, 0), "a packed sequence has 0 tokens"),
        (Mask(seqlens=(1, 1), key_seqlens=(2, 3)), (1, 2, 6), "2 sequences of 2 and 5 tokens are packed"),
        (Mask(seqlens=(1, 1), key_seqlens=(2, 0)), (1, 2, 2), "a packed sequence has 0 tokens"),
        (Mask(seqlens=(1, 1), key_seqlens=(5,)), (1, 2, 5), "2 packed sequences of queries and 1 of keys"),
    ],
)
def test_a_mask_that_cannot_be_meant_is_refused_with_the_reason(mask, sizes, message):
    with pytest.raises(ValueError, match=message):
        mask.check(*sizes)


def test_keys_have_lengths_of_their_own_only_where_that_can_be_meant():
    for wrong in ({"causal": True, "seqlens": (1,)}, {}):
        with pytest.raises(ValueError, match="only in a packed mask that is not causal"):
            Mask(**wrong, key_seqlens=(2,))


def test_masks_that_fit_pass():
    Mask(seqlens=(1, 1), key_seqlens=(2, 3)).check(1, 2, 5)
    Mask().check(2, 7, 5)
    Mask(causal=True).check(2, 1, 5)
    Mask(causal=True, seqlens=(3, 4)).check(1, 7, 7)


def random_mask(seed: int) -> tuple[Mask, int, int]:
    """A mask with its number of queries and keys."""
    r = random.Random(seed)
    causal = r.random() < 0.5
    if r.random() < 0.6:
        seqlens = tuple(r.randint(1, 9) for _ in range(r.randint(1, 8)))
        if r.random() < 0.3:
            keys = tuple(r.randint(1, 9) for _ in seqlens)
            return Mask(seqlens=seqlens, key_seqlens=keys), sum(seqlens), sum(keys)
        return Mask(causal, seqlens), sum(seqlens), sum(seqlens)
    num_queries = r.randint(1, 12)
    return Mask(causal), num_queries, r.choice([num_queries, num_queries + r.randint(0, 9)])


@pytest.mark.filterwarnings("ignore")  # what xformers has to say on a machine without a GPU
@pytest.mark.parametrize("first", range(0, 500, 100))
def test_what_xformers_is_told_is_exactly_the_mask(first):
    pytest.importorskip("xformers")
    from calligram.nn.xformers_attention import bias_of

    for seed in range(first, first + 100):
        mask, num_queries, num_keys = random_mask(seed)
        bias = bias_of(mask, num_queries, num_keys, torch.device("cpu"))
        shape = (1, 1, num_queries, num_keys)
        told = torch.zeros(shape) if bias is None else bias.materialize(shape)
        assert set(told.unique().tolist()) <= {0.0, -torch.inf}
        assert torch.equal(told[0, 0] == 0, mask.matrix(num_queries, num_keys)), (mask, num_queries, num_keys)
