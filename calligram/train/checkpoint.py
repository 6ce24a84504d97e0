"""Save and restore a training run: weights, optimiser, step. Nothing is pickled.

Batches and dropout are pure functions of (seed, step), so that what they need is a few numbers: ``data`` below is
whatever keeps the state of the batches in the way of ``torch.distributed.checkpoint.stateful.Stateful``.
"""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.stateful import Stateful

from calligram import runs
from calligram.errors import UserError

OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"


def save(
    run: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    keep_last: int,
    data: Stateful | None = None,
) -> Path:
    """Write a checkpoint aside and rename it; then delete the oldest beyond ``keep_last``."""
    folder = runs.step_folder(run, step)
    aside = run / f".{folder.name}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_file(_contiguous(model.state_dict()), aside / runs.MODEL)
    save_file(_contiguous(_optimizer_state(model, optimizer)), aside / OPTIMIZER)
    (aside / STATE).write_text(json.dumps({"step": step, "data": data.state_dict() if data else None}) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(aside, folder)
    for old in runs.checkpoints(run)[:-keep_last]:
        shutil.rmtree(old)
    return folder


def restore(run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, data: Stateful | None = None) -> int:
    """Load the newest checkpoint of a run; the number of steps done, 0 where there is none."""
    found = runs.checkpoints(run)
    if not found:
        return 0
    folder = found[-1]
    for name in (OPTIMIZER, STATE):
        if not (folder / name).is_file():
            raise UserError(f"{folder} cannot be resumed, it has no {name}: delete it, or train into another folder")
    runs.load_weights(model, folder / runs.MODEL)
    try:
        _load_optimizer_state(model, optimizer, load_file(folder / OPTIMIZER))
        state = json.loads((folder / STATE).read_text())
        if data is not None:
            data.load_state_dict(state["data"])
        return int(state["step"])
    except UserError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder} cannot be resumed ({error}): delete it, or train into another folder") from None


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for full_name, value in state.items():
        name, key = full_name.rsplit("/", 1)
        parameter = parameters[name]
        # The fused AdamW keeps even its step count beside the parameter, and walks parameter and averages in the
        # order of their memory: one that is channels-last needs averages that are so, too.
        like = parameter if parameter.shape == value.shape else value
        optimizer.state[parameter][key] = torch.empty_like(like, dtype=value.dtype, device=parameter.device).copy_(
            value
        )
