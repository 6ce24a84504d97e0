"""Our way through xformers, with its own reference, which runs on a CPU, in place of its kernels."""

import pytest
import torch

from calligram.nn.mask import Mask

pytest.importorskip("xformers")


@pytest.fixture
def through_xformers(monkeypatch):
    from xformers import ops
    from xformers.attn_bias_utils import ref_attention

    from calligram.nn.xformers_attention import xformers_attention

    monkeypatch.setattr(ops, "memory_efficient_attention", ref_attention)
    return xformers_attention


def test_the_branch_is_the_formula_forward_and_backward(through_xformers, compare, mask_case, groups):
    compare(through_xformers, *mask_case, groups)


@torch.no_grad()
def test_groups_without_a_gradient_take_the_way_of_five_dimensions(through_xformers, mask_case):
    mask, num_queries, num_keys = mask_case
    torch.manual_seed(0)
    batch = 1 if mask.seqlens else 2
    q, k, v = (torch.randn(batch, n, h, 8) for n, h in ((num_queries, 4), (num_keys, 2), (num_keys, 2)))
    expected = through_xformers(q, *(x.repeat_interleave(2, dim=2) for x in (k, v)), mask)
    torch.testing.assert_close(through_xformers(q, k, v, mask), expected, atol=1e-6, rtol=1e-6)


def test_a_bias_made_without_gradients_serves_with_them(through_xformers):
    mask = Mask(causal=True, seqlens=(2, 3))
    with torch.inference_mode():
        x = torch.randn(1, 5, 2, 8)
        through_xformers(x, x, x, mask)
    from calligram.nn.xformers_attention import bias_of

    assert not bias_of(mask, 5, 5, torch.device("cpu")).q_seqinfo.seqstart.is_inference()
