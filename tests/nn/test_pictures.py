"""Pictures of several sizes as batches of those of one size."""

import pytest
import torch

from calligram.nn.pictures import Pictures


def test_equal_sizes_are_a_batch_small_ones_come_first_and_the_order_can_be_found_again():
    sizes = [(4, 6), (2, 2), (6, 4), (4, 6), (2, 2), (3, 8)]
    pictures = [torch.full((3, *size), float(i)) for i, size in enumerate(sizes)]
    found = Pictures.of(pictures)
    assert [tuple(x.shape) for x in found.groups] == [(2, 3, 2, 2), (1, 3, 3, 8), (2, 3, 4, 6), (1, 3, 6, 4)]
    number = torch.cat([x[:, 0, 0, 0] for x in found.groups])
    assert number[found.place_B].tolist() == [0, 1, 2, 3, 4, 5]
    doubled = found.map(lambda x: 2 * x)
    assert all(torch.equal(b, 2 * a) for a, b in zip(found.groups, doubled.groups, strict=True))
    assert torch.equal(doubled.place_B, found.place_B)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [([], "here is none"), ([torch.zeros(3, 2, 2), torch.zeros(1, 3, 2, 2)], r"one of shape \(1, 3, 2, 2\)")],
)
def test_what_is_no_picture_is_refused(pictures, message):
    with pytest.raises(ValueError, match=message):
        Pictures.of(pictures)
