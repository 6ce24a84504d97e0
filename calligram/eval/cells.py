"""A cell of the product: one system, one data set, one task; what came of it, and where that is kept."""

import logging
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calligram.eval.estimate import Estimate
from calligram.eval.identity import DataSet
from calligram.eval.systems import System
from calligram.eval.task import EvalTask, Value
from calligram.files import write_aside

log = logging.getLogger(__name__)
FOLDER = "cells"


@dataclass(frozen=True)
class Cell:
    """``reason`` says why it is skipped; None where there is something to measure."""

    key: str
    system: System
    data: DataSet
    task: EvalTask
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.system.name}, {self.data.name}, {self.task.name}"


class Figure(BaseModel):
    """A number under its dotted name; with its interval and the number of units where it was measured on samples."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    count: int | None = None

    @classmethod
    def of(cls, metric: str, value: float | Estimate) -> "Figure":
        if isinstance(value, Estimate):
            return cls(metric=metric, value=value.value, low=value.low, high=value.high, count=value.count)
        return cls(metric=metric, value=float(value))


class Outcome(BaseModel):
    """What came of a cell."""

    model_config = ConfigDict(frozen=True)

    key: str
    status: Literal["done", "failed", "skipped"]
    reason: str | None = None
    figures: tuple[Figure, ...] = ()
    pictures: dict[str, str] = Field(default_factory=dict)  # dotted name → file, relative to the evaluation's folder
    seconds: float = 0.0
    versions: dict[str, str | None] = Field(default_factory=dict)  # by which it was measured
    machine: str = ""


class Store:
    """Finished cells in a folder; without one nothing is kept."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder

    def read(self, key: str) -> Outcome | None:
        """A finished cell; None where there is none, or, with a warning, something else."""
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        try:
            found = Outcome.model_validate_json(path.read_bytes())
        except (ValidationError, OSError):
            log.warning(f"{path} is damaged: measured anew")
            return None
        whole = self.folder is not None and all((self.folder / file).is_file() for file in found.pictures.values())
        return found if found.key == key and whole else None

    def write(self, outcome: Outcome) -> None:
        """Aside and renamed, so that a file that is there is whole. What failed is tried again, and not kept."""
        path = self._path(outcome.key)
        if path is not None and outcome.status != "failed":
            write_aside(path, (outcome.model_dump_json(indent=1) + "\n").encode())
            path.with_suffix(".error.txt").unlink(missing_ok=True)

    def write_traceback(self, key: str, error: Exception) -> None:
        """Where in its code a task failed, for whoever is going to mend it."""
        path = self._path(key)
        if path is not None:
            write_aside(path.with_suffix(".error.txt"), "".join(traceback.format_exception(error)).encode())

    def save_pictures(self, key: str, values: dict[str, Value]) -> dict[str, str]:
        if self.folder is None:
            return {}
        found = {name: value for name, value in values.items() if isinstance(value, Image.Image)}
        for name, image in found.items():
            path = self.folder / FOLDER / key / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f".{path.name}.{os.getpid()}.part")
            image.save(aside, "PNG")
            aside.replace(path)
        return {name: f"{FOLDER}/{key}/{name}.png" for name in found}

    def _path(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / FOLDER / f"{key}.json"
