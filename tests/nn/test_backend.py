"""Which backend is chosen, and whether xformers' own dispatch agrees with our gate; no GPU is needed for that."""

import logging
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from calligram.nn.backend import backend, supported, xformers_works
from calligram.nn.mask import Mask

CAPABILITIES = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)]
DTYPES = [torch.float16, torch.bfloat16, torch.float32]
MASKS = [
    (Mask(), 10, 10),
    (Mask(), 1, 10),
    (Mask(causal=True), 10, 10),
    (Mask(causal=True), 3, 10),
    (Mask(seqlens=(3, 7)), 10, 10),
    (Mask(causal=True, seqlens=(3, 7)), 10, 10),
    (Mask(causal=True, seqlens=(10,)), 10, 10),
]


@pytest.mark.parametrize(
    ("dtype", "head_dim", "capability", "expected"),
    [
        (torch.bfloat16, 64, (8, 0), True),
        (torch.bfloat16, 64, (12, 0), True),
        (torch.bfloat16, 12, (9, 0), False),
        (torch.bfloat16, 64, (7, 5), False),
        (torch.float16, 64, (7, 5), True),
        (torch.float16, 64, (7, 0), False),
        (torch.float16, 256, (9, 0), True),
        (torch.float16, 264, (9, 0), False),
        (torch.float16, 200, (8, 6), False),
        (torch.float16, 192, (8, 6), True),
        (torch.float32, 64, (9, 0), True),
        (torch.float32, 62, (9, 0), False),
        (torch.float32, 64, (10, 0), False),
        (torch.float32, 64, (12, 0), False),
        (torch.float64, 64, (9, 0), False),
    ],
)
def test_the_gate_lets_through_what_has_a_kernel(dtype, head_dim, capability, expected):
    assert supported(dtype, head_dim, capability) == expected


@pytest.fixture
def xformers(monkeypatch):
    """xformers as it is where its kernels load; the gradient's operator is chosen in the forward pass."""
    with pytest.MonkeyPatch.context() as quiet:
        quiet.setattr(logging.getLogger("xformers"), "disabled", True)
        pytest.importorskip("xformers.ops")
    from xformers.ops import fmha

    monkeypatch.setattr(fmha.common, "_built_with_cuda", True)
    return fmha


def dispatch(fmha, dtype, head_dim, mask, num_queries, num_keys):
    """The real choice of operators for fake tensors, with and without a gradient. Raises where there is none."""
    from calligram.nn.xformers_attention import bias_of

    with FakeTensorMode():
        sizes = (num_queries, num_keys, num_keys)
        q, k, v = (torch.empty(1, n, 4, head_dim, dtype=dtype, device="cuda", requires_grad=True) for n in sizes)
        inputs = fmha.Inputs(q, k, v, attn_bias=bias_of(mask, num_queries, num_keys, q.device))
        inputs.validate_inputs()
        fmha._dispatch_fw(inputs, False)
        forward = fmha._dispatch_fw(inputs, True)
        fmha._dispatch_bw(inputs, varlen_lse_packed=forward.VARLEN_LSE_PACKED if mask.seqlens else None)
        grouped = [q.unflatten(2, (2, 2)), *(x[:, :, :2, None].expand(-1, -1, -1, 2, -1) for x in (k, v))]
        fmha._dispatch_fw(fmha.Inputs(*grouped, attn_bias=inputs.attn_bias), False)


@pytest.fixture(autouse=True)
def no_memory_of_fakes():
    yield
    if module := sys.modules.get("calligram.nn.xformers_attention"):
        module._block_diagonal.cache_clear()


@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_xformers_has_an_operator_for_all_that_the_gate_lets_through(xformers, monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    widths = [width for width in (32, 36, 64, 80, 128, 192, 256) if supported(dtype, width, capability)]
    for width in widths:
        for case in MASKS:
            dispatch(xformers, dtype, width, *case)
            sys.modules["calligram.nn.xformers_attention"]._block_diagonal.cache_clear()


@pytest.mark.parametrize(
    ("dtype", "head_dim", "capability"),
    [(torch.float32, 64, (10, 0)), (torch.bfloat16, 64, (7, 5)), (torch.bfloat16, 36, (9, 0))],
    ids=str,
)
def test_xformers_has_none_where_the_gate_is_closed(xformers, monkeypatch, dtype, head_dim, capability):
    """So that the test above can fail."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert not supported(dtype, head_dim, capability)
    with pytest.raises(NotImplementedError, match="No operator found"):
        dispatch(xformers, dtype, head_dim, *MASKS[0])


@pytest.mark.parametrize("case", MASKS, ids=str)
@torch.no_grad()
def test_the_whole_call_gives_the_right_shapes(xformers, monkeypatch, case):
    """Forward and backward, up to the kernels themselves, which have fakes."""
    from calligram.nn.xformers_attention import bias_of, xformers_attention

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    mask, num_queries, num_keys = case
    with FakeTensorMode():
        sizes = (num_queries, num_keys, num_keys)
        q, k, v = (torch.empty(1, n, 4, 64, dtype=torch.bfloat16, device="cuda") for n in sizes)
        assert xformers_attention(q, k, v, mask).shape == q.shape
        assert xformers_attention(q, k[:, :, :2], v[:, :, :2], mask).shape == q.shape
        bias = bias_of(mask, num_queries, num_keys, q.device)
        out, lse = xformers.memory_efficient_attention_forward_requires_grad(q, k, v, bias)
        gradients = xformers.memory_efficient_attention_backward(torch.empty_like(out), out, lse, q, k, v, bias)
        assert [x.shape for x in gradients] == [q.shape, k.shape, v.shape]


@pytest.mark.parametrize("built", [True, False])
def test_an_xformers_without_its_kernels_is_named_and_passed_over(monkeypatch, caplog, built):
    package = ModuleType("xformers")
    package._cpp_lib = SimpleNamespace(_built_with_cuda=built)
    monkeypatch.setitem(sys.modules, "xformers", package)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    xformers_works.cache_clear()
    chosen = [backend.__wrapped__(torch.device("cuda"), torch.bfloat16, 64) for _ in range(2)]
    xformers_works.cache_clear()
    assert chosen == ["xformers" if built else "sdpa"] * 2
    assert caplog.text.count("pip install nvidia-cuda-runtime-cu12") == (not built)


def test_without_xformers_pytorch_stands_in_and_a_broken_one_is_not_passed_over(monkeypatch):
    monkeypatch.setitem(sys.modules, "xformers", None)
    assert xformers_works.__wrapped__() is False
    monkeypatch.delitem(sys.modules, "xformers")

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "xformers":
                raise ModuleNotFoundError("No module named 'something'", name="something")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(ModuleNotFoundError, match="something"):
        xformers_works.__wrapped__()


def test_the_choice_is_logged_once(caplog):
    backend.cache_clear()
    with caplog.at_level(logging.INFO):
        chosen = {backend(torch.device("cpu"), torch.float32, 24) for _ in range(3)}
    assert chosen == {"sdpa"}
    assert caplog.text.count("attention: sdpa for cpu, torch.float32, head width 24") == 1
