"""Where the rows of metrics are shown besides ``metrics.jsonl``: TensorBoard, Weights & Biases, trackio."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from PIL import Image

from calligram import runs
from calligram.errors import UserError

Pictures = dict[str, Image.Image]


class Tracker(Protocol):
    """Shows rows of numbers, and pictures by their names, by step."""

    def log(self, step: int, row: dict[str, float], pictures: Pictures) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in the run's folder; what a killed run wrote beyond ``first_step`` is hidden."""

    def __init__(self, run: Path, first_step: int):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run), purge_step=first_step)

    def log(self, step: int, row: dict[str, float], pictures: Pictures) -> None:
        for name, value in row.items():
            self.writer.add_scalar(name, value, step)
        for name, picture in pictures.items():
            self.writer.add_image(name, np.asarray(picture), step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


class Service:
    """wandb, or trackio, which has the same functions. A run goes on under its name where it is resumed."""

    def __init__(self, name: str, run: Path):
        self.module = _import(name)
        path = run / runs.CONFIG
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        options = {"id": _identity(run), "dir": str(run)} if name == "wandb" else {}
        self.module.init(project="calligram", name=str(run), config=config, resume="allow", **options)

    def log(self, step: int, row: dict[str, float], pictures: Pictures) -> None:
        self.module.log(row | {name: self.module.Image(picture) for name, picture in pictures.items()}, step=step)

    def close(self) -> None:
        self.module.finish()


def open_trackers(names: tuple[str, ...], run: Path, first_step: int) -> list[Tracker]:
    """Raises UserError for one that is not installed."""
    return [TensorBoard(run, first_step) if name == "tensorboard" else Service(name, run) for name in names]


def check(names: tuple[str, ...]) -> None:
    """Raises UserError for one that is not installed, before a run is begun."""
    for name in names:
        if name != "tensorboard":
            _import(name)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"--train.trackers {name}: it is not installed; pip install 'calligram[{name}]'") from None


def _identity(run: Path) -> str:
    """A name that the service takes, and that another run of the same folder's name does not have."""
    import hashlib

    return hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:16]
