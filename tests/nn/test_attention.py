"""Every branch of the attention function against the formula, written out."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

import calligram.nn.attention as attention_module
from calligram.nn.attention import attention, backend

CASES = [(5, 5, False), (5, 5, True), (3, 7, False), (3, 7, True), (1, 7, False), (1, 7, True)]


def formula(q, k, v, causal):
    """softmax(q·kᵀ / √K) v, the last query in line with the last key."""
    scores = torch.einsum("bmhk,bnhk->bhmn", q, k) / q.shape[-1] ** 0.5
    if causal:
        m, n = torch.meshgrid(torch.arange(q.shape[1]), torch.arange(k.shape[1]), indexing="ij")
        scores = scores.masked_fill(n - k.shape[1] > m - q.shape[1], -torch.inf)
    return torch.einsum("bhmn,bnhk->bmhk", scores.softmax(-1), v)


def random_qkv(num_queries, num_keys, dtype=torch.float32, head_width=8):
    g = torch.Generator().manual_seed(num_queries * 100 + num_keys)
    shapes = [(2, n, 3, head_width) for n in (num_queries, num_keys, num_keys)]
    return [torch.randn(shape, generator=g).to(dtype).requires_grad_() for shape in shapes]


def gradients(out, inputs):
    return torch.autograd.grad(out.sin().sum(), inputs)


@pytest.mark.parametrize(("num_queries", "num_keys", "causal"), CASES)
def test_attention_is_the_formula_forward_and_backward(num_queries, num_keys, causal):
    qkv = random_qkv(num_queries, num_keys)
    out, expected = attention(*qkv, causal=causal), formula(*qkv, causal)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients(out, qkv), gradients(expected, qkv), atol=1e-5, rtol=1e-4)


def test_bf16_training_on_a_cpu_computes_attention_in_fp32():
    qkv = random_qkv(6, 6, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(*qkv, causal=True)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, attention(*(x.float() for x in qkv), causal=True).bfloat16())


class Triangle:
    aligned = "top left"


class TriangleFromBottomRight:
    aligned = "bottom right"


def fake_xformers(calls: list) -> dict[str, ModuleType]:
    """Modules with the names that xformers has, and the formula for its kernel."""

    def memory_efficient_attention(q, k, v, attn_bias=None):
        calls.append(attn_bias)
        assert attn_bias is None or attn_bias.aligned == "bottom right" or q.shape[1] == k.shape[1]
        return formula(q, k, v, causal=attn_bias is not None)

    names = ("xformers", "xformers.ops", "xformers.ops.fmha", "xformers.ops.fmha.attn_bias")
    modules = {name: ModuleType(name) for name in names}
    package, ops, fmha, masks = modules.values()
    package.ops, ops.fmha, fmha.attn_bias = ops, fmha, masks
    ops.memory_efficient_attention = memory_efficient_attention
    masks.LowerTriangularMask, masks.LowerTriangularFromBottomRightMask = Triangle, TriangleFromBottomRight
    return modules


@pytest.mark.parametrize(("num_queries", "num_keys", "causal"), CASES)
def test_xformers_branch_passes_layout_and_mask(monkeypatch, num_queries, num_keys, causal):
    calls = []
    for name, module in fake_xformers(calls).items():
        monkeypatch.setitem(sys.modules, name, module)
    qkv = random_qkv(num_queries, num_keys)
    expected = attention(*qkv, causal=causal)
    monkeypatch.setattr(attention_module, "backend", lambda *_: "xformers")
    out = attention(*qkv, causal=causal)
    assert len(calls) == 1
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients(out, qkv), gradients(expected, qkv), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("num_queries", "num_keys", "causal"), CASES)
def test_xformers_branch_with_the_masks_of_xformers(monkeypatch, num_queries, num_keys, causal):
    """Real mask classes; the kernel, which needs a GPU, is replaced by xformers' own reference."""
    ops = pytest.importorskip("xformers.ops")
    reference = pytest.importorskip("xformers.attn_bias_utils").ref_attention_bmhk
    qkv = random_qkv(num_queries, num_keys)
    expected = attention(*qkv, causal=causal)
    monkeypatch.setattr(attention_module, "backend", lambda *_: "xformers")
    monkeypatch.setattr(ops, "memory_efficient_attention", reference)
    out = attention(*qkv, causal=causal)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients(out, qkv), gradients(expected, qkv), atol=1e-5, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("num_queries", "num_keys", "causal"), CASES)
def test_attention_on_a_gpu_is_the_formula(num_queries, num_keys, causal):
    qkv = [x.detach().cuda().requires_grad_() for x in random_qkv(num_queries, num_keys, torch.bfloat16, 64)]
    out, expected = attention(*qkv, causal=causal), formula(*(x.cpu().float() for x in qkv), causal)
    torch.testing.assert_close(out.cpu().float(), expected, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(
    ("device", "dtype", "head_width", "capability", "expected"),
    [
        ("cuda", torch.bfloat16, 64, (8, 0), "xformers"),
        ("cuda", torch.float16, 256, (9, 0), "xformers"),
        ("cuda", torch.float32, 64, (9, 0), "sdpa"),
        ("cuda", torch.bfloat16, 12, (9, 0), "sdpa"),
        ("cuda", torch.bfloat16, 264, (9, 0), "sdpa"),
        ("cuda", torch.bfloat16, 64, (7, 5), "sdpa"),
        ("cpu", torch.bfloat16, 64, (9, 0), "sdpa"),
    ],
)
def test_the_backend_is_chosen_by_what_has_a_kernel(monkeypatch, device, dtype, head_width, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(attention_module, "_xformers_works", lambda: True)
    assert backend.__wrapped__(device, dtype, head_width) == expected


@pytest.mark.parametrize("built", [True, False])
def test_an_xformers_without_its_kernels_is_named_and_passed_over(monkeypatch, caplog, built):
    package = ModuleType("xformers")
    package._cpp_lib = SimpleNamespace(_built_with_cuda=built)
    monkeypatch.setitem(sys.modules, "xformers", package)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    chosen = backend.__wrapped__("cuda", torch.bfloat16, 64)
    assert chosen == ("xformers" if built else "sdpa")
    assert ("pip install nvidia-cuda-runtime-cu12" in caplog.text) == (not built)
