import pytest
import torch
from transformers import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding

from calligram.nn.positions import rotate
from calligram.nn.rotary import axis_of_pairs, positions, rotation, sections


def test_llamagen_s_text_is_not_turned_to_zero():
    """LlamaGen's table has zeros for cosine and sine of its prefix, so that its words' queries and keys are zero."""
    for layout in ("1d", "2d"):
        turn = rotation(positions(torch.arange(6 + 9), 6, 3, layout), 16, 10_000.0)
        assert torch.equal(turn[0, :, 0], torch.ones(8)) and torch.equal(turn[0, :, 1], torch.zeros(8))
        torch.testing.assert_close(turn.square().sum(-1), torch.ones(15, 8))
        x = torch.randn(1, 15, 2, 16)
        torch.testing.assert_close(rotate(x, turn).norm(dim=-1), x.norm(dim=-1))


def test_places_of_words_and_of_a_picture():
    found = positions(torch.arange(3 + 6), 3, 3, "2d").tolist()
    assert found[:3] == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]
    assert found[3:] == [[3, 3, 3], [3, 3, 4], [3, 3, 5], [3, 4, 3], [3, 4, 4], [3, 4, 5]]
    assert positions(torch.arange(9), 3, 3, "1d").tolist() == [[i] * 3 for i in range(9)]


def test_rows_may_have_texts_of_different_lengths():
    index = torch.arange(7).expand(2, 7)
    found = positions(index, torch.tensor([[2], [4]]), 2, "2d")
    for row, length in enumerate((2, 4)):
        assert torch.equal(found[row], positions(torch.arange(7), length, 2, "2d"))


@pytest.mark.parametrize("head_width", [8, 16, 32, 64, 128])
def test_sections_share_all_pairs_between_the_axes(head_width):
    axes = axis_of_pairs(head_width)
    assert tuple(axes.bincount().tolist()) == sections(head_width) and min(sections(head_width)) >= 1
    assert sections(128) == (24, 20, 20)


@pytest.mark.parametrize("head_width", [8, 32, 128])
def test_angles_are_those_of_qwen3_vl(head_width):
    places = positions(torch.arange(5 + 16), 5, 4, "2d")
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": list(sections(head_width))}
    theirs = Qwen3VLTextRotaryEmbedding(Qwen3VLTextConfig(head_dim=head_width, rope_parameters=rope))
    cos, sin = theirs(torch.zeros(1), places.T[:, None])
    ours = rotation(places, head_width, 100.0)
    half = head_width // 2
    torch.testing.assert_close(ours[..., 0], cos[0, :, :half], atol=1e-6, rtol=0)
    torch.testing.assert_close(ours[..., 1], sin[0, :, :half], atol=1e-6, rtol=0)


def test_what_counts_is_how_far_apart_two_tokens_are():
    q, k = torch.randn(1, 1, 1, 32, dtype=torch.float64), torch.randn(1, 1, 1, 32, dtype=torch.float64)

    def product(first: list[int], second: list[int]) -> float:
        turns = [rotation(torch.tensor([place]), 32, 100.0).double() for place in (first, second)]
        return float((rotate(q, turns[0]) * rotate(k, turns[1])).sum())

    assert product([9, 12, 10], [9, 10, 13]) == pytest.approx(product([9, 15, 19], [9, 13, 22]), abs=1e-5)
    assert product([9, 12, 10], [9, 10, 13]) != pytest.approx(product([9, 10, 10], [9, 12, 13]), abs=1e-3)
