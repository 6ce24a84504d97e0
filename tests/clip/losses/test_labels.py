import torch

from calligram.clip.losses.labels import fingerprints, sort_by_label
from calligram.clip.losses.tiles import shared_tiles


def test_texts_have_the_same_number_where_they_are_the_same():
    ids = torch.randint(0, 3, (2000, 7), generator=torch.Generator().manual_seed(0))
    _, expected = ids.unique(dim=0, return_inverse=True)
    label = fingerprints(ids)
    assert label.dtype == torch.int64
    assert len(label.unique()) == len(expected.unique()) > 700
    assert torch.equal(label[:, None] == label, expected[:, None] == expected)


def test_numbers_of_texts_that_hardly_differ_are_far_apart():
    """Order and place count, and every bit is as often set as not."""
    ids = torch.tensor([[1, 2, 3], [1, 3, 2], [2, 1, 3], [0, 1, 2], [1, 2, 0], [1 << 16, 2, 3], [1, 2, 3 + (1 << 16)]])
    label = fingerprints(ids)
    assert len(label.unique()) == len(ids)
    many = fingerprints(torch.arange(4096)[:, None] + 1)
    set_bits = ((many[:, None] >> torch.arange(64)) & 1).double().mean(0)
    assert (set_bits - 0.5).abs().max() < 0.05


def test_zeros_at_the_end_change_nothing():
    ids = torch.tensor([[5, 6, 7], [5, 6, 0]])
    assert torch.equal(fingerprints(ids), fingerprints(torch.nn.functional.pad(ids, (0, 4))))


def test_pairs_stay_together_when_they_are_sorted():
    label = torch.tensor([3, 1, 3, 2, 9, 1])
    image, text = torch.arange(4.0)[:, None], torch.arange(6.0)[:, None]
    sorted_image, sorted_text, sorted_label = sort_by_label(image, text, label)
    assert sorted_label.tolist() == [1, 2, 3, 3, 1, 9]
    assert torch.equal(sorted_image[:, 0], sorted_text[:4, 0])
    assert torch.equal(label[sorted_text[:, 0].long()], sorted_label)


def test_distinct_labels_are_left_as_they_are():
    label, x = torch.tensor([3, 1, 2]), torch.randn(3, 2)
    assert sort_by_label(x, x, label)[0] is x


def test_tiles_with_equal_labels_are_found():
    generator = torch.Generator().manual_seed(0)
    for rows, columns, size in [(10, 14, 4), (3, 3, 8), (9, 2, 1), (7, 21, 7)]:
        a, b = (torch.randint(0, 12, (n,), generator=generator) for n in (rows, columns))
        expected = [[bool((part_a[:, None] == part_b).any()) for part_b in b.split(size)] for part_a in a.split(size)]
        assert shared_tiles(a, b, size) == expected
