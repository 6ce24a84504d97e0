"""Checkpoints: whole, or not there. Nothing is pickled.

One is written aside, flushed to the disk, renamed, and only then ``latest`` points to it. ``state.json`` holds the
length and crc32 of its files, so that one that was damaged later is told from one that is well; training goes on from
the newest that is well. What is copied from the model is written by a thread while the next steps are computed.
"""

import json
import logging
import os
import re
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from calligram import runs
from calligram.errors import UserError
from calligram.files import save_tensors
from calligram.train import distributed, sharding
from calligram.train.state import OPTIMIZER, TrainingState

log = logging.getLogger(__name__)
STATE = "state.json"
PIECES = "pieces"  # a folder, where the model was trained in pieces
DAMAGED = ".damaged"
CHUNK = 2**24
# what safetensors puts around a reason
RUST = re.compile(r"^Error while serializing: (I/O error: )?| \(os error \d+\)$")


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
        """Called by every process. The main one, or all where the model is in pieces, copy what they have and return.

        The copy is written meanwhile.
        """
        self.wait()
        if state.is_sharded:
            self._start(copy_pieces(self.run, step, state, self.keep))
        elif distributed.is_main():
            tensors = {file: _copied(named) for file, named in state.tensors().items()}
            self._start(partial(write, self.run, step, tensors, state.numbers(), self.keep))

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

    def _start(self, write: Callable[[], Any]) -> None:
        def work() -> None:
            try:
                write()
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=work, name="checkpoint")
        self._thread.start()


def write(run: Path, step: int, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any], keep: Keep) -> Path:
    """Write a checkpoint, then delete those that need not be kept. Raises UserError where the disk does not take it."""
    with _written(run, step, keep) as aside:
        for file, named in tensors.items():
            save_tensors(named, aside / file)
        _describe(aside, {"step": step, **numbers})
    return runs.step_folder(run, step)


def copy_pieces(run: Path, step: int, state: TrainingState, keep: Keep) -> Callable[[], None]:
    """Every process copies its pieces of all there is; what is returned writes them.

    The main process adds the weights as a whole, for other programs.
    """
    tensors, aside, whole = state.tensors(), _aside(run, step), {}
    with ExitStack() as stack:
        if distributed.is_main():
            stack.enter_context(_written(run, step, keep))
        distributed.barrier()  # the folder is there
        for file in sorted(tensors.keys() - {OPTIMIZER}):  # in the same order everywhere
            parts = ((name, sharding.full(x)) for name, x in tensors[file].items())
            whole[file] = {name: _copied({name: x})[name] for name, x in parts if distributed.is_main()}
        numbers = {"step": step, **state.numbers()}
        flat = {f"{file}/{name}": x for file, named in tensors.items() for name, x in named.items()}
        pieces = sharding.save(flat, aside / PIECES)
        folder = stack.pop_all()

    def finish() -> None:
        with folder:
            pieces()
            if distributed.is_main():
                for file, named in whole.items():
                    save_tensors(named, aside / file)
                _describe(aside, numbers)

    return finish


@contextmanager
def _written(run: Path, step: int, keep: Keep) -> Iterator[Path]:
    """A folder to write into, which then becomes the checkpoint of a step."""
    folder, aside = runs.step_folder(run, step), _aside(run, step)
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        yield aside
        for path in (*aside.rglob("*"), aside):
            _flush(path)
        _delete(folder)
        os.rename(aside, folder)
        _point(run / runs.LATEST, folder.name)
        _flush(run)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        reason = (isinstance(error, OSError) and error.strerror) or RUST.sub("", " ".join(str(error).split()))
        raise UserError(
            f"{folder} cannot be written ({reason}): make room, or make the folder writable, and go on with "
            f"--resume; the checkpoints before it are as they were"
        ) from None
    for old in runs.checkpoints(run)[: -keep.last]:
        if not keep.is_kept(runs.step_of(old)):
            _delete(old)


def _aside(run: Path, step: int) -> Path:
    return run / f".{runs.step_folder(run, step).name}.partial"


def _describe(aside: Path, numbers: dict[str, Any]) -> None:
    """Last of all the files: what the others are to be held against."""
    files = [path for path in sorted(aside.rglob("*")) if path.is_file()]
    facts = {str(path.relative_to(aside)): {"bytes": path.stat().st_size, "crc32": _crc32(path)} for path in files}
    (aside / STATE).write_text(json.dumps({**numbers, "files": facts}) + "\n", encoding="utf-8")


def restore(run: Path, state: TrainingState) -> int:
    """Go on from the newest checkpoint that is well; the number of steps done, 0 where there is none.

    Those that are damaged are told, and set aside by another name. Raises UserError where one is well and does not
    belong to this model, or where none is well.
    """
    step = distributed.agree(_newest(run) if distributed.is_main() else -1)
    if step < 0:
        return 0
    folder = runs.step_folder(run, step)
    try:
        numbers = json.loads((folder / STATE).read_text(encoding="utf-8"))
        state.load_numbers(numbers)  # first, since it refuses what must not go on
        if (folder / PIECES).is_dir():
            _load_pieces(folder / PIECES, state)
        else:
            state.load({name: load_file(folder / name) for name in state.tensors()})
        return step
    except UserError as error:
        raise UserError(f"{folder} cannot be resumed from: {error}") from None
    except RuntimeError as error:
        raise UserError(f"{folder} does not fit the model of its config: {' '.join(str(error).split())}") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder} cannot be resumed from ({error}): train into another folder") from None


def _load_pieces(folder: Path, state: TrainingState) -> None:
    stored = sharding.contents(folder)
    prefix = f"{OPTIMIZER}/"
    found = {name.removeprefix(prefix): facts for name, facts in stored.items() if name.startswith(prefix)}
    targets = {f"{file}/{name}": x for file, named in state.targets(found).items() for name, x in named.items()}
    for name, x in targets.items():
        if name not in stored or stored[name][0] != x.shape:
            raise RuntimeError(f"{name} is {'another shape' if name in stored else 'missing'}")
    sharding.load(targets, folder)


def _newest(run: Path) -> int:
    """The step of the newest checkpoint that is well, -1 where there is none at all."""
    found, reasons = runs.checkpoints(run), []
    for folder in reversed(found):
        try:
            step = check(folder)
        except UserError as error:
            reasons.append(str(error))
            continue
        for damaged, reason in zip(reversed(found), reasons, strict=False):
            log.warning(f"{reason}; going on from {folder.name}, the damaged one is kept as {damaged.name}{DAMAGED}")
            damaged.rename(damaged.with_name(damaged.name + DAMAGED))
        return step
    if found:
        raise UserError(f"{reasons[0]}, and no other checkpoint is well: train into another folder")
    return -1


def check(folder: Path) -> int:
    """The step of a checkpoint. Raises UserError where a file is missing or not as it was written."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        # before there were checksums
        facts = state.get("files") or dict.fromkeys((runs.MODEL, OPTIMIZER))
        for name, fact in facts.items():
            size = (folder / name).stat().st_size
            if fact and (size != fact["bytes"] or _crc32(folder / name) != fact["crc32"]):
                raise ValueError(f"{name} is damaged")
        return int(state["step"])
    except FileNotFoundError as error:
        reason = f"it has no {Path(error.filename or STATE).name}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
    raise UserError(f"{folder} cannot be resumed from: {reason}")


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
