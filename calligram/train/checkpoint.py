"""Checkpoints: whole, or not there. Nothing is pickled.

One is written aside, flushed to the disk, renamed, and only then ``latest`` points to it. ``state.json`` holds the
length and crc32 of its files, so that one that was damaged later is told from one that is well; training goes on from
the newest that is well. What is copied from the model is written by a thread while the next steps are computed.
"""

import json
import logging
import os
import shutil
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from calligram import runs
from calligram.errors import UserError
from calligram.train.state import OPTIMIZER, TrainingState

log = logging.getLogger(__name__)
STATE = "state.json"
DAMAGED = ".damaged"
CHUNK = 2**24


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay: the last few, and those at every so-many-th step."""

    last: int = 2
    every: int = 0

    def is_kept(self, step: int) -> bool:
        return self.every > 0 and step % self.every == 0


class Writer:
    """Saves in the background, one checkpoint at a time; an error is raised at the next call."""

    def __init__(self, run: Path, keep: Keep):
        self.run, self.keep = run, keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, step: int, state: TrainingState) -> None:
        """Copies the state and returns; the copy is written meanwhile."""
        self.wait()
        tensors = {file: _copied(named) for file, named in state.tensors().items()}
        numbers = state.numbers()
        self._thread = threading.Thread(target=self._write, args=(step, tensors, numbers), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until all is on the disk."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """What was begun is written to its end, also where the training ends with an error of its own."""
        try:
            yield
        except BaseException:
            with suppress(UserError):
                self.wait()
            raise
        self.wait()

    def _write(self, *arguments: Any) -> None:
        try:
            write(self.run, *arguments, keep=self.keep)
        except BaseException as error:
            self._error = error


def write(run: Path, step: int, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any], keep: Keep) -> Path:
    """Write a checkpoint, then delete those that need not be kept. Raises UserError where the disk does not take it."""
    folder = runs.step_folder(run, step)
    aside = run / f".{folder.name}.partial"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for file, named in tensors.items():
            save_file(named, aside / file)
        facts = {file: {"bytes": (aside / file).stat().st_size, "crc32": _crc32(aside / file)} for file in tensors}
        state = {"step": step, **numbers, "files": facts}
        (aside / STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")
        for path in (*aside.iterdir(), aside):
            _flush(path)
        _delete(folder)
        os.rename(aside, folder)
        _point(run / runs.LATEST, folder.name)
        _flush(run)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UserError(
            f"{folder} cannot be written ({reason}): make room, or make the folder writable, and go on with "
            f"--resume; the checkpoints before it are as they were"
        ) from None
    for old in runs.checkpoints(run)[: -keep.last]:
        if not keep.is_kept(runs.step_of(old)):
            _delete(old)
    return folder


def save(run: Path, step: int, state: TrainingState, keep: Keep) -> Path:
    """Write a checkpoint at once."""
    return write(run, step, {file: _copied(named) for file, named in state.tensors().items()}, state.numbers(), keep)


def restore(run: Path, state: TrainingState) -> int:
    """Go on from the newest checkpoint that is well; the number of steps done, 0 where there is none.

    Those that are damaged are told, and set aside by another name. Raises UserError where one is well and does not
    belong to this model, or where none is well.
    """
    found, reasons = runs.checkpoints(run), []
    for folder in reversed(found):
        try:
            tensors, numbers = read(folder)
        except UserError as error:
            reasons.append(str(error))
            continue
        _load(folder, state, tensors, numbers)
        for damaged, reason in zip(reversed(found), reasons, strict=False):
            log.warning(f"{reason}; going on from {folder.name}, the damaged one is kept as {damaged.name}{DAMAGED}")
            damaged.rename(damaged.with_name(damaged.name + DAMAGED))
        return int(numbers["step"])
    if found:
        raise UserError(f"{reasons[0]}, and no other checkpoint is well: train into another folder")
    return 0


def read(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Tensors by file, and numbers. Raises UserError where anything is missing or not as it was written."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        facts = state.get("files", {})
        for name, fact in facts.items():
            if (folder / name).stat().st_size != fact["bytes"] or _crc32(folder / name) != fact["crc32"]:
                raise ValueError(f"{name} is damaged")
        return {name: load_file(folder / name) for name in facts or (runs.MODEL, OPTIMIZER)}, state
    except FileNotFoundError as error:
        reason = f"it has no {Path(error.filename or STATE).name}"
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
    raise UserError(f"{folder} cannot be resumed from: {reason}")


def _load(folder: Path, state: TrainingState, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any]) -> None:
    try:
        state.load(tensors, numbers)
    except UserError:
        raise
    except RuntimeError as error:
        raise UserError(f"{folder} does not fit the model of its config: {' '.join(str(error).split())}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder} cannot be resumed from ({error}): train into another folder") from None


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """In the memory of the processor, in rows, and not the model's any more."""
    copies = {name: x.to("cpu", copy=True, memory_format=torch.contiguous_format) for name, x in tensors.items()}
    return {name: x if x.is_contiguous() else x.contiguous() for name, x in copies.items()}


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            value = zlib.crc32(data, value)
    return value


def _flush(path: Path) -> None:
    """A name must not reach the disk before what it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(folder: Path) -> None:
    """Half of a checkpoint never goes by its name."""
    if folder.exists():
        going = folder.with_name(f".{folder.name}.deleted")
        shutil.rmtree(going, ignore_errors=True)
        folder.rename(going)
        shutil.rmtree(going, ignore_errors=True)


def _point(link: Path, name: str) -> None:
    aside = link.with_name(f".{link.name}.partial")
    aside.unlink(missing_ok=True)
    aside.symlink_to(name)
    aside.replace(link)
