"""Memory of a training step: what is quick to compute is not kept for the gradient, but computed a second time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


@contextmanager
def computed_again(output: Tensor, compute: Callable[[], Tensor]) -> Iterator[None]:
    """Within it no layer keeps ``output`` for its gradient: ``compute()`` gives it again then, to the bit.

    For what costs little beside the matrix products around it, a norm or an activation, whose input is kept anyway.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():  # which finds out by itself what to keep
        yield
        return
    address, size = output.data_ptr(), output.numel()

    def pack(x: Tensor) -> Any:
        is_output = x.data_ptr() == address and x.numel() == size and x.is_contiguous()
        return x.shape if is_output else x

    def unpack(kept: Any) -> Tensor:
        return kept if isinstance(kept, Tensor) else compute().view(kept)

    with saved_tensors_hooks(pack, unpack):
        yield
