"""All that a training goes on from: what is in a checkpoint, as tensors by name and as numbers for JSON.

Batches, dropout and augmentation are pure functions of (seed, step), so that no generator's state is among it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.stateful import Stateful

from calligram import runs
from calligram.errors import UserError
from calligram.train import sharding
from calligram.train.ema import Ema

OPTIMIZER = "optimizer.safetensors"
COMPANION = "companion.safetensors"  # what is trained beside a model, such as a discriminator


def trained(model: nn.Module, companion: nn.Module | None) -> dict[str, nn.Parameter]:
    """All parameters that an optimiser steps, by name."""
    beside = {f"companion.{name}": p for name, p in companion.named_parameters()} if companion is not None else {}
    return {**dict(model.named_parameters()), **beside}


class Counts(Protocol):
    """What keeps a few numbers: the guard, the scaler of fp16."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None: ...


@dataclass
class TrainingState:
    """The parts of a training that change with its steps."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None = None
    data: Stateful | None = None
    guard: Counts | None = None
    scaler: Counts | None = None
    companion: nn.Module | None = None

    @property
    def is_sharded(self) -> bool:
        return sharding.is_sharded(self.model)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """By file and name; not copied, and in pieces where the model is."""
        files = {runs.MODEL: self.model.state_dict(), OPTIMIZER: dict(self._optimizer_state())}
        if self.ema is not None:
            files[runs.EMA] = self.ema.state_dict()
        if self.companion is not None:
            files[COMPANION] = self.companion.state_dict()
        return {file: {name: x.detach() for name, x in tensors.items()} for file, tensors in files.items()}

    def numbers(self) -> dict[str, Any]:
        parts = {"data": self.data, "guard": self.guard, "scaler": self.scaler}
        numbers = {name: part.state_dict() if part else None for name, part in parts.items()}
        return numbers | {"ema_steps": self.ema.steps if self.ema else None}

    def load_numbers(self, numbers: dict[str, Any]) -> None:
        """Raises UserError, KeyError, TypeError or ValueError for what does not fit."""
        if self.data is not None:
            self.data.load_state_dict(numbers["data"])
        for name, part in (("guard", self.guard), ("scaler", self.scaler)):
            if part is not None and numbers.get(name):
                part.load_state_dict(numbers[name])
        if self.ema is not None:
            if numbers.get("ema_steps") is None:
                raise UserError("it has no average of the weights: leave out --train.ema-decay, or train anew")
            self.ema.steps = int(numbers["ema_steps"])

    def load(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """From whole tensors, by file and name. Raises KeyError or RuntimeError for what does not fit."""
        found = {name: (x.shape, x.dtype) for name, x in tensors[OPTIMIZER].items()}
        targets = self.targets(found)
        for file, named in targets.items():
            missing, unexpected = named.keys() - tensors[file].keys(), tensors[file].keys() - named.keys()
            if missing or unexpected:
                names = ", ".join(sorted(missing or unexpected)[:3])
                raise RuntimeError(f"{'missing' if missing else 'unexpected'} in {file}: {names}")
            for name, target in named.items():
                if target.shape != tensors[file][name].shape:
                    raise RuntimeError(f"{name} is {tuple(tensors[file][name].shape)}, not {tuple(target.shape)}")
                sharding.assign(target, tensors[file][name])

    def targets(self, optimizer_state: dict[str, tuple[torch.Size, torch.dtype]]) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint is read into, by file and name: the optimiser's state is made as large as told."""
        parameters = trained(self.model, self.companion)
        for full_name, (shape, dtype) in optimizer_state.items():
            name, key = full_name.rsplit("/", 1)
            parameter = parameters[name]
            # The fused AdamW keeps even its step count beside the parameter, and walks parameter and averages in the
            # order of their memory: one that is channels-last needs averages that are so, too.
            kept = (
                torch.empty_like(parameter, dtype=dtype)
                if parameter.shape == shape
                else torch.empty(shape, dtype=dtype, device=parameter.device)
            )
            self.optimizer.state[parameter][key] = kept.detach()
        files = self.tensors()
        if self.ema is not None:  # averages may be of another type than the weights that they stand for
            files[runs.EMA] |= self.ema.averages
        return files

    def _optimizer_state(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in trained(self.model, self.companion).items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                yield f"{name}/{key}", value
