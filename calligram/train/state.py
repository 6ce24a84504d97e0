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
from calligram.train.ema import Ema

OPTIMIZER = "optimizer.safetensors"


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

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """By file and name; not copied."""
        files = {runs.MODEL: self.model.state_dict(), OPTIMIZER: dict(self._optimizer_state())}
        if self.ema is not None:
            files[runs.EMA] = self.ema.state_dict()
        return {file: {name: x.detach() for name, x in tensors.items()} for file, tensors in files.items()}

    def numbers(self) -> dict[str, Any]:
        parts = {"data": self.data, "guard": self.guard, "scaler": self.scaler}
        numbers = {name: part.state_dict() if part else None for name, part in parts.items()}
        return numbers | {"ema_steps": self.ema.steps if self.ema else None}

    def load(self, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any]) -> None:
        """Raises UserError, KeyError, TypeError, ValueError or RuntimeError for a state that does not fit."""
        if self.data is not None:
            self.data.load_state_dict(numbers["data"])  # first, since it refuses what must not go on
        self.model.load_state_dict(tensors[runs.MODEL])
        self._load_optimizer_state(tensors[OPTIMIZER])
        if self.ema is not None:
            if runs.EMA not in tensors:
                raise UserError("it has no average of the weights: resume without --train.ema-decay")
            self.ema.load_state_dict(tensors[runs.EMA], int(numbers["ema_steps"]))
        for name, part in (("guard", self.guard), ("scaler", self.scaler)):
            if part is not None and numbers.get(name):
                part.load_state_dict(numbers[name])

    def _optimizer_state(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                yield f"{name}/{key}", value

    def _load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        parameters = dict(self.model.named_parameters())
        for full_name, value in state.items():
            name, key = full_name.rsplit("/", 1)
            parameter = parameters[name]
            # The fused AdamW keeps even its step count beside the parameter, and walks parameter and averages in the
            # order of their memory: one that is channels-last needs averages that are so, too.
            like = parameter if parameter.shape == value.shape else value
            kept = torch.empty_like(like, dtype=value.dtype, device=parameter.device).copy_(value)
            self.optimizer.state[parameter][key] = kept
