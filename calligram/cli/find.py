"""What a verb may leave unsaid: which run to take, which device; and whether a file can be written where it should."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from calligram import runs
from calligram.cli.console import say
from calligram.errors import UserError

if TYPE_CHECKING:
    import torch

RUNS = Path("runs")
KINDS = {"clip": "CLIP", "dalle": "DALL-E", "tokenizer": "image tokenizer"}  # a config's type → in words
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")  # of pictures that are written


def find_run(given: Path | None, kind: str, flag: str = "--model") -> Path:
    """The run that was given, or the only one of its kind with weights under ``runs/``, which is said on stderr."""
    if given is not None:
        return given
    found = [run for run in sorted(path.parent for path in RUNS.rglob(runs.CONFIG)) if _is_usable(run, kind)]
    if not found:
        raise UserError(f"no trained {KINDS[kind]} run in {RUNS}/: name one as {flag}, or train one first")
    if len(found) > 1:
        raise UserError(f"several {KINDS[kind]} runs, {', '.join(map(str, found))}: name one as {flag}")
    say(f"taking {found[0]}, the only {KINDS[kind]} run in {RUNS}/")
    return found[0]


def _is_usable(run: Path, kind: str) -> bool:
    try:
        runs.read_config(run, kind)
        return runs.weights(run).is_file()
    except UserError:
        return False


def find_device(name: str) -> "torch.device":
    """``auto``, or what torch calls a device."""
    import torch

    if name == "auto":  # of several GPUs the current one, which torchrun's processes have set
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name!r} is no device: give auto, cpu or cuda") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name!r}: torch sees {torch.cuda.device_count()} GPUs here; give auto or cpu")
    return device


def check_output(path: Path, flag: str, suffixes: tuple[str, ...]) -> None:
    """Raises UserError where a file with another ending, or in a place that cannot be made, is asked for."""
    if path.suffix.lower() not in suffixes:
        *others, last = suffixes
        choice = f"{', '.join(others)} or {last}" if others else last
        raise UserError(f"{flag} {path}: the name must end in {choice}")
    if path.is_dir():
        raise UserError(f"{flag} {path} is a folder: give the name of a file")
    make_folder(path.parent, flag)


def make_folder(folder: Path, flag: str) -> None:
    """Makes a folder for what is going to be written, before any work is spent on it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag}: cannot make the folder {folder} ({error.strerror}); choose another") from None


@contextlib.contextmanager
def new_folder(folder: Path, flag: str) -> Iterator[None]:
    """Makes a folder for what is written within; where that fails, no empty one is left behind."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    make_folder(folder, flag)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # what is not empty stays, and with it the folders around it
            for each in made:
                each.rmdir()
        raise
