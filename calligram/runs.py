"""How a run lies on disk, for whoever writes or reads one.

A run is a folder: ``config.json``, the tokenizers that its model needs, ``metrics.jsonl``, TensorBoard
events, and one folder a checkpoint, ``step_000500/`` with ``model.safetensors``.
"""

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calligram.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG = "config.json"
METRICS = "metrics.jsonl"
INTERRUPTED = "interrupted"  # there while a training that was told to go has not been resumed
STARTS = "starts.jsonl"  # command, code and machine of each start
MODEL = "model.safetensors"
EMA = "ema.safetensors"  # a running average of the weights, where there is one
LATEST = "latest"  # a link to the newest checkpoint
TEXT_TOKENIZER = "text_tokenizer.json"
LORA_SCALING = "lora_scaling"  # what a low-rank update is multiplied by; it lies with the weights
SAMPLES = "samples"  # a folder of pictures, what a model did at some steps of its training
IMAGE_TOKENIZER = "image_tokenizer"  # a folder with a config and weights of its own
# what lies with the weights beside them: LoRA's factor, and what batch normalisation keeps
NOT_TRAINED = (f".{LORA_SCALING}", ".running_mean", ".running_var", ".num_batches_tracked")
_STEP = re.compile(r"step_(\d{6,})$")


def step_folder(run: Path, step: int) -> Path:
    return run / f"step_{step:06d}"


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def checkpoints(run: Path) -> list[Path]:
    """Finished checkpoints of a run, oldest first."""
    found = [p for p in run.glob("step_*") if _STEP.match(p.name) and (p / MODEL).is_file()]
    return sorted(found, key=step_of)


def weights(run: Path) -> Path:
    """The newest weights of a run, averaged ones where it has some, or those of a plain model folder."""
    if (run / MODEL).is_file():
        return run / MODEL
    found = checkpoints(run)
    if not found:
        raise UserError(f"{run} has no weights: no step_*/{MODEL} in it; train it first, or name another run")
    newest = found[-1]
    return newest / EMA if (newest / EMA).is_file() else newest / MODEL


def read_config(run: Path, expected: str | None = None) -> dict[str, Any]:
    """``config.json`` of a run as it was written; ``expected`` names the type of run that is needed."""
    if not run.is_dir():
        raise UserError(f"run folder {run} does not exist")
    path = run / CONFIG
    if not path.is_file():
        raise UserError(f"{run} is not a run folder: it has no {CONFIG}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        found = config["type"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not the config of a run") from None
    if expected is not None and found != expected:
        raise UserError(f"{run} is a {found} run, but a {expected} run is needed here")
    return config


def write_config(run: Path, config: dict[str, Any]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    aside = run / f".{CONFIG}.partial"
    aside.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(run / CONFIG)


def read_weights(path: Path) -> "dict[str, Tensor]":
    """A safetensors file by name, or a UserError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return with_lora_merged(load_file(path))
    except SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file: {error}") from None


def count_parameters(weights: Path) -> int:
    """Trained numbers in a weights file, without loading them: its header has the shapes."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="pt") as file:
            names = [name for name in file.keys() if not name.endswith(NOT_TRAINED)]  # noqa: SIM118
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    except SafetensorError as error:
        raise UserError(f"{weights} is not a safetensors file: {error}") from None


def with_lora_merged(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The weights of a plain model from those of one that was trained with LoRA; others as they are."""
    adapted = [name.removesuffix(f".{LORA_SCALING}") for name in tensors if name.endswith(f".{LORA_SCALING}")]
    for layer in adapted:
        scaling, down_RI, up_OR = (
            tensors.pop(f"{layer}.{name}") for name in (LORA_SCALING, "lora_A.default.weight", "lora_B.default.weight")
        )
        tensors[f"{layer}.base_layer.weight"] += (scaling * (up_OR @ down_RI)).to(up_OR.dtype)
    return {name.replace(".base_layer.", "."): x for name, x in tensors.items()} if adapted else tensors


def load_weights(model: "nn.Module", path: Path) -> None:
    """Load a safetensors file into a model of the same shape, or say what does not fit."""
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise UserError(f"{path} does not fit the model of its config: {' '.join(str(error).split())}") from None


def trim_metrics(run: Path, step: int) -> None:
    """Leave out what a killed run wrote of steps beyond ``step``, which are going to be taken again."""
    path = run / METRICS
    if not path.is_file():
        return
    kept = [row for row in read_metrics(run) if row["step"] <= step]
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    aside.replace(path)


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.jsonl``; where a resumed run wrote a step twice the later row stands."""
    path = run / METRICS
    if not path.is_file():
        return []
    rows: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the last line of a run that was killed while writing it
        rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]
