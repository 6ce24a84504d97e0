"""The gradient of a batch: in one go, or in parts for which the memory is enough.

Where the loss is a mean over samples, parts are computed one after the other and added up. A loss that sets the samples
of a batch against each other, as CLIP's does, is none of its parts' losses: there what the samples become is computed
in parts without a gradient, the loss and its gradient by that for all of them at once, and from it in a second round of
parts the gradient of the weights (GradCache, arXiv 2101.06983). It is exactly that of the whole batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from calligram.train import distributed
from calligram.train.config import TrainConfig
from calligram.train.precision import autocast_for, scaler_for

Samples = Tensor | list[Tensor]  # the latter where they differ in size
Batch = dict[str, Any]  # of Samples
Found = dict[str, Tensor]


class Coupling(Protocol):
    """A task whose loss couples the samples of a batch.

    ``task(batch)`` is ``compare(embed(batch) | observe(batch))``.
    """

    def embed(self, part: Batch) -> Mapping[str, Tensor]:
        """What the loss compares, with the samples in the first dimension of each tensor."""
        ...

    def observe(self, part: Batch) -> Mapping[str, Tensor]:
        """More of it, which has no gradient, and so is asked for once."""
        ...

    def compare(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Found]: ...


class Preparing(Protocol):
    """A task that adds to a batch what has to be known of all of it for the loss of a part."""

    def prepare(self, batch: Batch) -> Batch: ...


class Backward:
    """Called with a batch it adds the gradient of the loss to the parameters', and returns the loss and its metrics."""

    def __init__(self, task: nn.Module, config: TrainConfig, device: torch.device):
        self.task, self.parts, self.device = task, config.accumulate, device
        self.caches = self.parts > 1 and hasattr(task, "compare")
        self.autocast = autocast_for(config.precision, device)
        self.scaler = scaler_for(config.precision, device)
        self.parallel = distributed.wrap(_Stages(task), config.parallel)

    def __call__(self, batch: Batch) -> Found:
        if hasattr(self.task, "prepare"):
            batch = cast(Preparing, self.task).prepare({name: x.to(self.device) for name, x in batch.items()})
        return self._cached(batch) if self.caches else self._added_up(batch)

    def _added_up(self, batch: Batch) -> Found:
        values: Found = {}
        for part, is_last in self._split(batch):
            with distributed.reducing(self.parallel, is_last):
                with self.autocast:
                    loss, found = self.parallel("task", part)
                self.scaler.scale(loss / self.parts).backward()
            for name, value in {"loss": loss.detach(), **found}.items():
                values[name] = values.get(name, 0) + value / self.parts
        return values

    def _cached(self, batch: Batch) -> Found:
        noises, embedded = [], []
        for part, _ in self._split(batch):
            noises.append(_noise(self.device))
            with torch.no_grad(), self.autocast, _statistics_kept(self.task):
                embedded.append({**self.parallel("embed", part), **cast(Coupling, self.task).observe(part)})
        features = {name: torch.cat([f[name] for f in embedded]) for name in embedded[0]}
        loss, found, pulls, own_pulls = self._compared(features)

        pulls_of_parts = {name: pull.chunk(self.parts) for name, pull in pulls.items()}
        for number, (part, is_last) in enumerate(self._split(batch)):
            _make_noise(noises[number], self.device)
            pull = {name: chunks[number] for name, chunks in pulls_of_parts.items()}
            with distributed.reducing(self.parallel, is_last):
                with self.autocast:
                    pulled = self.parallel("pull", part, pull, own_pulls if is_last else {})
                pulled.backward()
        return {"loss": loss, **found}

    def _compared(self, features: Found) -> tuple[Tensor, Found, Found, Found]:
        """Loss, metrics, and the scaled loss's gradient by the features and by the parameters of the loss itself."""
        compared = {name: x.requires_grad_() for name, x in features.items() if x.is_floating_point()}
        own = {name: p for name, p in self.task.named_parameters() if p.requires_grad}
        with self.autocast:
            loss, found = cast(Coupling, self.task).compare(features)
        inputs = [*compared.values(), *own.values()]
        pulls = torch.autograd.grad(self.scaler.scale(loss), inputs, allow_unused=True)
        named = [(name, pull) for name, pull in zip((*compared, *own), pulls, strict=True) if pull is not None]
        of_features = {name: pull for name, pull in named if name in compared}
        return loss.detach(), found, of_features, {name: pull for name, pull in named if name in own}

    def _split(self, batch: Batch) -> Iterator[tuple[Batch, bool]]:
        """The parts of a batch, on the device; true with the last."""
        chunks = {name: _chunks(x, self.parts) for name, x in batch.items()}
        for number in range(self.parts):
            yield {name: _moved(x[number], self.device) for name, x in chunks.items()}, number == self.parts - 1


def _chunks(x: Samples, parts: int) -> Sequence[Samples]:
    """Equal parts: that they divide a batch is seen to when a run starts."""
    if isinstance(x, Tensor):
        return x.chunk(parts)
    size = len(x) // parts
    return [x[start : start + size] for start in range(0, len(x), size)]


def _moved(x: Samples, device: torch.device) -> Samples:
    if isinstance(x, Tensor):
        return x.to(device, non_blocking=True)
    return [each.to(device, non_blocking=True) for each in x]


class _Stages(nn.Module):
    """A task whose parts are called by name: whatever is put around a module for many processes knows ``forward``."""

    def __init__(self, task: nn.Module):
        super().__init__()
        self.task = task

    def forward(self, stage: str, *arguments: Any) -> Any:
        if stage == "task":
            return self.task(*arguments)
        return self._pull(*arguments) if stage == "pull" else cast(Coupling, self.task).embed(*arguments)

    def _pull(self, part: Batch, pulls: Found, own_pulls: Found) -> Tensor:
        """A number whose gradient is the loss's, of which the gradients by what it reads are known."""
        features = cast(Coupling, self.task).embed(part)
        pulled = [features[name] * pull for name, pull in pulls.items()]
        pulled += [self.task.get_parameter(name) * pull for name, pull in own_pulls.items()]
        return cast(Tensor, sum(x.sum() for x in pulled))


def _noise(device: torch.device) -> list[Tensor]:
    """Where the random numbers stand, for dropout that is the same twice."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _make_noise(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


@contextmanager
def _statistics_kept(task: nn.Module) -> Iterator[None]:
    """Within it a BatchNorm does not count what it sees, which it will see a second time."""
    tracking = [module for module in task.modules() if getattr(module, "track_running_stats", False)]
    for module in tracking:
        setattr(module, "track_running_stats", False)  # noqa: B010
    try:
        yield
    finally:
        for module in tracking:
            setattr(module, "track_running_stats", True)  # noqa: B010
