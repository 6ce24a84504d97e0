"""What is computed again for the gradient is the same to the bit, and is not kept."""

import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from calligram.nn import transformer
from calligram.nn.frugal import computed_again
from calligram.nn.transformer import Transformer, TransformerConfig


def gradients(frugal: bool, monkeypatch, dtype=None, activation="gelu"):
    torch.manual_seed(0)
    if not frugal:
        monkeypatch.setattr(transformer, "computed_again", lambda output, compute: torch.enable_grad())
    model = Transformer(TransformerConfig(width=16, num_layers=2, num_heads=2, dropout=0.3, activation=activation))
    x = torch.randn(3, 5, 16, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        out = model(x)
    out.float().sin().sum().backward()
    return [x.grad, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu", "gelu_tanh"])
def test_gradients_are_the_same_to_the_bit(monkeypatch, dtype, activation):
    ours = gradients(True, monkeypatch, dtype, activation)
    plain = gradients(False, monkeypatch, dtype, activation)
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


@pytest.mark.parametrize("shape", [(4, 8), (3, 4, 8)])
@pytest.mark.parametrize("frugal", [True, False])
def test_what_is_computed_again_is_not_kept(frugal, shape):
    """A norm's output is gone once nobody has it, though the layer behind it waits for its gradient."""
    norm, linear, x = nn.LayerNorm(8), nn.Linear(8, 8), torch.randn(shape, requires_grad=True)
    normed = norm(x)
    is_there = weakref.ref(normed)
    with computed_again(normed, lambda: norm(x)) if frugal else nullcontext():
        out = linear(normed)
    del normed
    assert (is_there() is None) == frugal
    out.sum().backward()
    assert x.grad.abs().sum() > 0


def test_without_a_gradient_nothing_is_hooked():
    with torch.no_grad():
        x = torch.randn(2, 3)
        with computed_again(x, lambda: pytest.fail("nobody asked")):
            assert torch.equal(nn.functional.linear(x, torch.eye(3)), x)
