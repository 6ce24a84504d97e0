"""Ranks in blocks: those of the whole matrix, the recall of CLIP_benchmark, and ties that flatter nobody."""

import pytest
import torch
import torch.nn.functional as F

from calligram.eval.ranks import best_ranks
from calligram.eval.retrieval import both_ways, figures, pairs_of


def case(num_images=70, texts_each=3, width=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image_BE = F.normalize(torch.randn(num_images, width, generator=generator), dim=1)
    noise = torch.randn(num_images * texts_each, width, generator=generator)
    text_TE = F.normalize(image_BE.repeat_interleave(texts_each, 0) + 0.4 * noise, dim=1)
    pair_P2 = torch.stack([torch.arange(num_images).repeat_interleave(texts_each), torch.arange(len(text_TE))], 1)
    return image_BE, text_TE, pair_P2


def slow(image_BE, text_TE, pair_P2):
    """With the whole matrix, in fp64."""
    score = image_BE.double() @ text_TE.double().T
    is_right = torch.zeros_like(score, dtype=torch.bool)
    is_right[pair_P2[:, 0], pair_P2[:, 1]] = True
    right, wrong = score.masked_fill(~is_right, -9), score.masked_fill(is_right, -9)
    return tuple((wrong > right.amax(axis, keepdim=True)).sum(axis) + 1 for axis in (1, 0))


@pytest.mark.parametrize("block", [(1024, 1024), (16, 16), (7, 500), (500, 1)])
def test_blocks_give_the_ranks_of_the_whole_matrix(block):
    inputs = case()
    order = torch.randperm(len(inputs[2]), generator=torch.Generator().manual_seed(1))
    text_B, image_T = slow(*inputs)
    found = best_ranks(*inputs[:2], inputs[2][order], block)
    assert found.text_B.tolist() == text_B.tolist() and found.image_T.tolist() == image_T.tolist()
    assert 1 < found.text_B.mean() < 70 and found.image_T.max() > 1


def test_a_caption_may_belong_to_several_pictures():
    image_BE, text_TE, pair_P2 = case(texts_each=1)
    more = torch.cat([pair_P2, torch.stack([torch.arange(70), torch.arange(70).flip(0)], 1)])
    for found, expected in zip(
        best_ranks(image_BE, text_TE, more, (32, 32)), slow(image_BE, text_TE, more), strict=True
    ):
        assert found.tolist() == expected.tolist()


def test_a_model_that_gives_all_the_same_is_in_the_middle():
    image_BE = F.normalize(torch.randn(1, 16), dim=1).expand(50, -1)
    pair_P2 = torch.arange(50)[:, None].expand(-1, 2)
    found = best_ranks(image_BE, image_BE, pair_P2, (16, 16))
    assert found.text_B.tolist() == found.image_T.tolist() == [1 + 49 / 2] * 50


def test_a_second_copy_counts_half():
    image_BE, text_TE, pair_P2 = case(num_images=10, texts_each=1)
    text_TE = torch.cat([image_BE, image_BE[:1]])  # the last belongs to picture 1 and looks like picture 0
    pairs = torch.cat([pair_P2, torch.tensor([[1, 10]])])
    found = best_ranks(image_BE, text_TE, pairs)
    assert found.text_B[0] == 1.5 and found.text_B[1:].max() == 1


def test_who_belongs_to_nothing_is_told():
    image_BE, text_TE, pair_P2 = case(num_images=5)
    with pytest.raises(ValueError, match="caption 14 belongs to nothing"):
        best_ranks(image_BE, text_TE, pair_P2[:-1])
    with pytest.raises(ValueError, match="picture 0 belongs to nothing"):
        best_ranks(image_BE, text_TE, pair_P2[:0])


def test_recall_is_that_of_clip_benchmark():
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    image_BE, text_TE, pair_P2 = case(num_images=300, texts_each=5)
    scores = text_TE @ image_BE.T
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[pair_P2[:, 1], pair_P2[:, 0]] = True
    ours = {name: value.value for name, value in both_ways(image_BE, text_TE, pair_P2)}
    for k in (1, 5, 10):
        for name, x, y in (("image", scores, positive), ("text", scores.T, positive.T)):
            found = theirs.batchify(theirs.recall_at_k, x, y, 64, "cpu", k=k) > 0
            assert ours[f"{name}_recall_at_{k}"] == pytest.approx(found.float().mean().item(), abs=1e-4)
    assert 0.1 < ours["text_recall_at_1"] < 0.95


def test_figures_are_what_their_names_say():
    rank_N = torch.tensor([1.0, 2, 3, 6, 20], dtype=torch.double)
    found = dict(figures(rank_N))
    values = {name: value.value for name, value in found.items()}
    assert values == pytest.approx(
        {
            "recall_at_1": 0.2,
            "recall_at_5": 0.6,
            "recall_at_10": 0.8,
            "mean_reciprocal_rank": (1 + 1 / 2 + 1 / 3 + 1 / 6 + 1 / 20) / 5,
            "median_rank": 3,
        }
    )
    assert all(value.low <= value.value <= value.high and value.count == 5 for value in found.values())
    assert dict(figures(rank_N[:4]))["median_rank"].value == 2.5


def test_captions_of_a_picture_are_drawn_together():
    # ten pictures, each with twenty captions of one rank: there are ten draws, not two hundred
    unit_N = torch.arange(10).repeat_interleave(20)
    rank_N = torch.where(unit_N < 5, 1.0, 9.0).double()
    together, apart = (dict(figures(rank_N, units))["recall_at_1"] for units in (unit_N, None))
    assert together.value == apart.value == 0.5 and together.count == 10
    assert together.high - together.low > 3 * (apart.high - apart.low)
    assert dict(figures(rank_N, unit_N))["median_rank"].value == 5


def test_a_caption_of_several_pictures_stands_there_once():
    texts, pairs = pairs_of([("a", "b"), ("b", "b", "c")])
    assert texts == ["a", "b", "c"] and pairs.tolist() == [[0, 0], [0, 1], [1, 1], [1, 2]]


def test_shuffled_captions_are_found_by_chance():
    image_BE, text_TE, pair_P2 = case(num_images=400, texts_each=1)
    shuffled = torch.randperm(400, generator=torch.Generator().manual_seed(3))
    honest = dict(both_ways(image_BE, text_TE, pair_P2))
    found = dict(both_ways(image_BE, text_TE[shuffled], pair_P2))
    for way in ("text", "image"):
        by_chance = found[f"{way}_recall_at_10"]
        assert by_chance.low <= 10 / 400 <= by_chance.high < honest[f"{way}_recall_at_10"].low
