"""Files that others may read, too: tensors; and any content, of which nobody sees the half."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calligram.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_UMASK = os.umask(0)  # it can only be asked for by setting it; here, before there are threads
os.umask(_UMASK)


def write_aside(path: Path, content: bytes) -> None:
    """Write a file and rename it: whoever finds it finds all of it, also after a kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def save_tensors(tensors: "Mapping[str, Tensor]", path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file with the rights that other new files have; the library gives them to the owner alone."""
    from safetensors.torch import save_file

    save_file(dict(tensors), path, metadata)
    _make_readable(path)


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Tensors of others by name: of a safetensors file, or of a PyTorch checkpoint, of which nothing is executed.

    A checkpoint may hold more than weights; then those are its ``state_dict``.
    """
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path} is not a safetensors file: {error}") from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} is no file of weights that is safe to read: {reason}") from None
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(x, torch.Tensor) for x in loaded.values()):
        raise UserError(f"{path} holds no state dict: names and tensors")
    # what trained in several processes is a module within a module
    return {name.removeprefix("module."): x for name, x in loaded.items()}


def save_arrays(arrays: Mapping[str, Any], path: Path, metadata: dict[str, str] | None = None) -> None:
    """As :func:`save_tensors`, for NumPy."""
    from safetensors.numpy import save_file

    save_file(dict(arrays), path, metadata)
    _make_readable(path)


def _make_readable(path: Path) -> None:
    path.chmod(0o666 & ~_UMASK)
