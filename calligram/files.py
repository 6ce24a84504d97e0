"""Tensors in files that others may read, too."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_UMASK = os.umask(0)  # it can only be asked for by setting it; here, before there are threads
os.umask(_UMASK)


def save_tensors(tensors: "Mapping[str, Tensor]", path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file with the rights that other new files have; the library gives them to the owner alone."""
    from safetensors.torch import save_file

    save_file(dict(tensors), path, metadata)
    _make_readable(path)


def save_arrays(arrays: Mapping[str, Any], path: Path, metadata: dict[str, str] | None = None) -> None:
    """As :func:`save_tensors`, for NumPy."""
    from safetensors.numpy import save_file

    save_file(dict(arrays), path, metadata)
    _make_readable(path)


def _make_readable(path: Path) -> None:
    path.chmod(0o666 & ~_UMASK)
