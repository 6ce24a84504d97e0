import pytest
import torch

from calligram.nn.mask import Mask
from calligram.nn.packed import Packing, packed_sdpa, sdpa_by_length, sdpa_padded


def test_a_packing_says_where_each_token_was():
    packing = Packing.of(torch.tensor([3, 1, 3, 2]), causal=True)
    assert packing.mask.seqlens == (1, 2, 3, 3)
    assert packing.mask.causal
    assert packing.row_N.tolist() == [1, 3, 3, 0, 0, 0, 2, 2, 2]
    assert packing.position_N.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2]
    assert packing.last_B.tolist() == [5, 0, 8, 2]


def padded(q, k, v, mask):
    return sdpa_padded(q, k, v, mask)


def by_length(q, k, v, mask):
    return sdpa_by_length(q, k, v, mask)


@pytest.mark.parametrize("way", [padded, by_length, packed_sdpa])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("seqlens", [(3, 3, 1, 6, 2), (4,), (1, 1)], ids=str)
def test_both_ways_are_the_formula_forward_and_backward(compare, groups, way, causal, seqlens):
    compare(way, Mask(causal, seqlens), sum(seqlens), sum(seqlens), groups)


@pytest.mark.parametrize(
    ("number", "longest", "width", "expected"),
    [
        (8, 13, 128, False),  # as measured: 0.8 times as fast packed
        (32, 15, 128, True),  # 1.1 times
        (32, 15, 64, False),  # 0.9
        (128, 16, 64, True),  # 1.2
        (256, 60, 512, True),  # 3
    ],
)
def test_packing_pays_where_it_was_measured_to(number, longest, width, expected):
    """Texts of some 10 tokens, of which one is the longest."""
    lengths = torch.tensor([8 + i % 5 for i in range(number - 1)] + [longest])
    assert Packing.of(lengths, causal=True).pays(width) == expected


def test_without_padding_there_is_nothing_to_save():
    assert not Packing.of(torch.full((512,), 9), causal=True).pays(4096)
