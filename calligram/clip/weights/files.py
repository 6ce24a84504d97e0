"""A file of weights → a state dict, whatever the format; nothing in it is executed."""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from calligram.clip.weights.archive import is_archive, read_archive
from calligram.clip.weights.layout import State
from calligram.errors import UserError

ARCHIVE_EXTRAS = ("input_resolution", "context_length", "vocab_size", "attn_mask")  # beside OpenAI's weights


def read_state(path: Path) -> State:
    """Tensors of a safetensors file, a TorchScript archive, or a PyTorch checkpoint.

    A checkpoint may hold more than weights; then those are its ``state_dict``.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path} is not a safetensors file: {error}") from None
    if is_archive(path):
        found = read_archive(path)
        return {name: x for name, x in found.items() if name not in ARCHIVE_EXTRAS}
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} is no file of weights that is safe to read: {reason}") from None
    return _state_dict(loaded, path)


def _state_dict(loaded: Any, path: Path) -> State:
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(x, torch.Tensor) for x in loaded.values()):
        raise UserError(f"{path} holds no state dict: names and tensors")
    # what trained in several processes is a module within a module
    return {name.removeprefix("module."): x for name, x in loaded.items()}


def find_weights(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these files, or indexes of files, that a folder has."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} has no weights: none of {', '.join(names)}")


def read_folder(folder: Path, names: tuple[str, ...]) -> State:
    """The weights of a folder, also where an index spreads them over several files."""
    path = find_weights(folder, tuple(name for one in names for name in (one, f"{one}.index.json")))
    if not path.name.endswith(".index.json"):
        return read_state(path)
    state: State = {}
    for name in sorted(set(read_json(path)["weight_map"].values())):
        if Path(name).name != name:
            raise UserError(f"{path} names the file {name!r}, which is not in its folder")
        state |= read_state(folder / name)
    return state


def read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path} is not a JSON file") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is not a config: it holds no object")
    return found
