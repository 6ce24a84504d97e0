"""A running average of the weights, which often is the better model than the last step's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """``average ← decay · average + (1 − decay) · weights`` after each step.

    The decay is smaller in the first steps, (1 + t) / (10 + t), so that the average forgets the initial weights.
    What is not learnt by gradient (statistics of a BatchNorm) is taken as it is. Averages are kept in fp32.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self.steps, self.model = decay, 0, model
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.averages = {name: p.detach().float().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        now = [p.detach().float() for p in self.parameters.values()]
        torch._foreach_lerp_(list(self.averages.values()), now, weight)  # pyright: ignore[reportPrivateImportUsage]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the model has the averages for weights; after it its own, to the bit."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        try:
            self._put(self.averages)
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, tensors: dict[str, Tensor]) -> None:
        for name, p in self.parameters.items():
            p.copy_(tensors[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The whole model, as its own ``state_dict`` names it, with averages where there are some."""
        own = self.model.state_dict()
        return {name: self.averages[name].to(x.dtype) if name in self.averages else x for name, x in own.items()}
