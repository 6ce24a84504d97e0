"""Losses whose gradient is computed along with their value, so that tiles of scores are walked over once, not twice."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Wanted = Sequence[bool]
Gradients = tuple[Tensor | None, ...]
Compute = Callable[[tuple[Tensor, ...], Wanted], tuple[Tensor, tuple[Tensor, ...], Gradients]]


def at_once(compute: Compute, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A number, and what else ``compute(inputs, wanted)`` found, which has no gradient.

    ``compute`` returns both and, for those of the inputs that are wanted, the number's gradients. They are kept until
    they are asked for, and computed anew should that happen twice.
    """
    wanted = tuple(torch.is_grad_enabled() and x.requires_grad for x in inputs)
    return _AtOnce.apply(compute, wanted, *inputs)


class _AtOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compute: Compute, wanted: Wanted, *inputs: Tensor) -> tuple[Tensor, ...]:
        loss, found, ctx.gradients = compute(inputs, wanted)
        ctx.save_for_backward(*inputs)
        ctx.compute, ctx.wanted = compute, wanted
        ctx.mark_non_differentiable(*found)
        return loss, *found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:  # a second time: the first has taken them along
            with torch.autocast(gradient.device.type, enabled=False):
                gradients = ctx.compute(ctx.saved_tensors, ctx.wanted)[2]
        return None, None, *(x if x is None else x.mul_(gradient) for x in gradients)
