"""Attention as the models call it; tests/nn/conftest.py has the formula."""

import sys

import pytest
import torch

from calligram.nn.attention import attention
from calligram.nn.mask import Mask


def test_attention_is_the_formula_forward_and_backward(compare, mask_case, groups):
    compare(attention, *mask_case, groups)


def qkv(dtype=torch.float32, batch=2, tokens=6):
    torch.manual_seed(0)
    return [torch.randn(batch, tokens, 3, 8).to(dtype).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize("mask", [Mask(causal=True), Mask(causal=True, seqlens=(2, 4))], ids=str)
def test_bf16_training_on_a_cpu_computes_attention_in_fp32(mask):
    inputs = qkv(torch.bfloat16, batch=1)
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(*inputs, mask)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, attention(*(x.float() for x in inputs), mask).bfloat16())


def test_mixed_dtypes_become_one():
    q, k, v = qkv()
    assert attention(q, k.bfloat16(), v.bfloat16()).dtype == torch.bfloat16
    assert attention(q.bfloat16(), k, v).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert attention(q, k.bfloat16(), v).dtype == torch.bfloat16


def test_neighbours_in_a_packed_row_do_not_see_each_other():
    """Two pictures of 4 and of 9 patches in one row are what each is alone (NaViT, arXiv 2307.06304)."""
    q, k, v = qkv(batch=1, tokens=13)
    packed = attention(q, k, v, Mask(seqlens=(4, 9)))
    alone = [attention(*(x[:, part] for x in (q, k, v))) for part in (slice(0, 4), slice(4, 13))]
    torch.testing.assert_close(packed, torch.cat(alone, 1), atol=1e-6, rtol=1e-6)
    assert (packed - attention(q, k, v)).abs().max() > 1e-2


def test_compiled_attention_is_the_formula_and_one_set_of_lengths_is_as_good_as_another(compare, mask_case):
    frames = []

    def count(graph, example_inputs):
        frames.append(graph)
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(attention, backend=count)
    compare(compiled, *mask_case, 4)
    mask = mask_case[0]
    if mask.seqlens:
        seen = len(frames)
        keys = mask.key_seqlens
        compare(compiled, Mask(mask.causal, mask.seqlens[::-1], keys and keys[::-1]), *mask_case[1:], 4)
        if keys is None:
            compare(compiled, Mask(mask.causal, (*mask.seqlens[1:], 1, mask.seqlens[0] - 1)), *mask_case[1:], 4)
        assert len(frames) == seen, "compiled anew for other lengths"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_attention_on_a_gpu_is_that_on_a_cpu(mask_case, groups, dtype):
    """Whatever backend is chosen there; in full precision the products may be TF32's."""
    mask, num_queries, num_keys = mask_case
    torch.manual_seed(0)
    batch = 1 if mask.seqlens else 2
    shapes = [(batch, n, heads, 64) for n, heads in ((num_queries, 4), (num_keys, groups), (num_keys, groups))]
    on_cpu = [torch.randn(shape).to(dtype).float().requires_grad_() for shape in shapes]
    on_gpu = [x.detach().to("cuda", dtype).requires_grad_() for x in on_cpu]
    outs = attention(*on_gpu, mask), attention(*on_cpu, mask)
    gradients = [torch.autograd.grad(out.float().sum(), x) for out, x in zip(outs, (on_gpu, on_cpu), strict=True)]
    torch.testing.assert_close(outs[0].cpu().float(), outs[1], atol=2e-2, rtol=2e-2)
    torch.testing.assert_close([x.cpu().float() for x in gradients[0]], list(gradients[1]), atol=5e-2, rtol=5e-2)
    with torch.no_grad():
        torch.testing.assert_close(attention(*on_gpu, mask).cpu().float(), outs[1], atol=2e-2, rtol=2e-2)


def test_a_cpu_never_imports_xformers(monkeypatch):
    """It takes seconds, and warns of a GPU that nobody has."""
    monkeypatch.setitem(sys.modules, "xformers", None)  # an import would raise
    monkeypatch.delitem(sys.modules, "calligram.nn.xformers_attention", raising=False)
    attention(*qkv(batch=1), Mask(causal=True, seqlens=(2, 4)))
    assert "calligram.nn.xformers_attention" not in sys.modules
