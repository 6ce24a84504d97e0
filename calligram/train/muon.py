"""Muon: momentum whose matrices are orthogonalised (arXiv 2502.16982), and AdamW for all that is no such matrix."""

import math
from typing import Any

import torch
from torch import Tensor, nn

# The quintic whose slope at 0 is steepest while five rounds stay bounded: singular values end within 0.7 … 1.2.
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
MOMENTUM = 0.95
# The root mean square of an AdamW update, so that one learning rate serves both kinds of parameters.
RMS = 0.2
COLOURS = 3  # channels of a picture


class Muon(torch.optim.AdamW):
    """AdamW whose groups with ``matrices`` above 0 take Muon's step instead.

    ``matrices`` is how many matrices each parameter of the group is, stacked by rows: 3 for a fused projection
    to query, key and value.

    torch.optim.Muon works in bf16 always, which a CPU without such instructions makes a hundred times slower
    than this, and orthogonalises the fused query-key-value matrix as one.
    """

    def __init__(self, params: list[dict[str, Any]], **adamw: Any):
        super().__init__([{"matrices": 0, **group} for group in params], **adamw)

    @torch.no_grad()
    def step(self, closure=None):
        """One step of both kinds. The gradients of matrices are used up by it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["matrices"]:
                self._step_matrices(group)
        super().step()
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            update = gradient.lerp(momentum, MOMENTUM)  # Nesterov's
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            # a convolution is the matrix that it multiplies each unrolled window by
            parameter.add_(
                _orthogonal_parts(update.flatten(1), group["matrices"]).view_as(parameter), alpha=-group["lr"]
            )
            parameter.grad = None  # so that AdamW passes it by


def is_hidden(name: str, parameter: nn.Parameter) -> bool:
    """What Muon is for: matrices of Transformer blocks, convolutions between channels that are no colours.

    Embeddings, heads and what reads pixels stay with AdamW.
    """
    if parameter.ndim == 4:
        return COLOURS not in parameter.shape[:2]
    return parameter.ndim == 2 and "blocks" in name.split(".")


def orthogonalise(matrix: Tensor) -> Tensor:
    """Nearly U Vᵀ of the matrix U S Vᵀ, by Newton-Schulz iteration; bf16 on a GPU, as given elsewhere."""
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)


def _orthogonal_parts(update: Tensor, number: int) -> Tensor:
    """Orthogonal update of AdamW's size, each of the stacked matrices for itself."""
    return torch.cat([orthogonalise(part) * RMS * math.sqrt(max(part.shape)) for part in update.chunk(number)])
