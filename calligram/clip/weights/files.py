"""A file of weights → a state dict, whatever the format; nothing in it is executed."""

import json
from pathlib import Path
from typing import Any

from calligram.clip.weights.archive import is_archive, read_archive
from calligram.clip.weights.layout import State
from calligram.errors import UserError
from calligram.files import read_tensors

ARCHIVE_EXTRAS = ("input_resolution", "context_length", "vocab_size", "attn_mask")  # beside OpenAI's weights


def read_state(path: Path) -> State:
    """Tensors of a safetensors file, a TorchScript archive, or a PyTorch checkpoint.

    A checkpoint may hold more than weights; then those are its ``state_dict``.
    """
    if path.is_file() and path.suffix != ".safetensors" and is_archive(path):
        found = read_archive(path)
        return {name: x for name, x in found.items() if name not in ARCHIVE_EXTRAS}
    return read_tensors(path)


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
