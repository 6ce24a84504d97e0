"""The tensors of a TorchScript archive, such as OpenAI published, without running what is in it.

An archive is a zip: ``data.pkl`` says which object holds which tensor, ``data/N`` are the bytes, ``code/`` is a
program. ``torch.jit.load`` compiles the program and unpickles the rest; here the program is not looked at, and the
instructions of ``data.pkl`` are read one by one into dead records: names of classes stay names.
"""

import pickletools
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calligram.errors import UserError

DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS_AND_TEXTS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE")
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass
class _Made:
    """What a class or function was asked to make: its name, the arguments, and an object's attributes."""

    name: str
    arguments: tuple = ()
    attributes: dict = field(default_factory=dict)


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype


_MARK = object()


def is_archive(path: Path) -> bool:
    """Whether a file is a TorchScript archive, and not a saved state dict, which is a zip, too."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in file.namelist())


def read_archive(path: Path) -> dict[str, Tensor]:
    """Parameters, buffers and other tensors by their dotted names."""
    try:
        with zipfile.ZipFile(path) as file:
            prefix = next(name for name in file.namelist() if name.endswith("/constants.pkl")).partition("/")[0]
            root = _read_instructions(file.read(f"{prefix}/data.pkl"))
            read = _Reader(file, prefix)
            return {name: read.tensor(made) for name, made in _tensors(root, "")}
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a TorchScript archive that can be read: {error}") from None


def _tensors(made: Any, prefix: str) -> list[tuple[str, _Made]]:
    found = []
    for name, value in made.attributes.items():
        if isinstance(value, _Made) and value.name.endswith(("_rebuild_tensor_v2", "_rebuild_parameter")):
            found.append((prefix + name, value))
        elif isinstance(value, _Made):
            found += _tensors(value, f"{prefix}{name}.")
    return found


class _Reader:
    """Bytes of an archive as tensors; a storage that several share is read once."""

    def __init__(self, file: zipfile.ZipFile, prefix: str):
        self.file, self.prefix = file, prefix
        self.storages: dict[str, Tensor] = {}

    def tensor(self, made: _Made) -> Tensor:
        if made.name.endswith("_rebuild_parameter"):
            return self.tensor(made.arguments[0])
        storage, offset, shape, stride = made.arguments[:4]
        if storage.key not in self.storages:
            data = bytearray(self.file.read(f"{self.prefix}/data/{storage.key}"))
            empty = torch.empty(0, dtype=storage.dtype)
            self.storages[storage.key] = torch.frombuffer(data, dtype=storage.dtype) if data else empty
        return self.storages[storage.key].as_strided(shape, stride, offset)


def _read_instructions(data: bytes) -> Any:
    """What a pickle's instructions describe, as lists, dicts, numbers, texts, ``_Made`` and ``_Storage``."""
    stack: list[Any] = []
    memory: dict[int, Any] = {}
    argument: Any
    for instruction, argument, _ in pickletools.genops(data):
        name = instruction.name
        if name == "STOP":
            return stack.pop()
        if name in ("BINPUT", "LONG_BINPUT"):
            memory[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memory[argument])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _NUMBERS_AND_TEXTS:
            stack.append(argument)
        elif name == "GLOBAL":
            stack.append(_Made(argument.replace(" ", ".")))
        elif name == "MARK":
            stack.append(_MARK)
        elif name != "PROTO":
            _combine(name, stack)
    raise ValueError("its data.pkl ends in the middle")


def _combine(name: str, stack: list[Any]) -> None:
    """An instruction that makes one thing of what is on the stack."""
    if name in _TUPLES:
        number = _TUPLES[name]
        stack[len(stack) - number :] = [tuple(stack[len(stack) - number :])]
    elif name == "TUPLE":
        stack.append(tuple(_to_mark(stack)))
    elif name == "EMPTY_LIST":
        stack.append([])
    elif name == "EMPTY_DICT":
        stack.append({})
    elif name in ("APPENDS", "APPEND"):
        items = _to_mark(stack) if name == "APPENDS" else [stack.pop()]
        stack[-1].extend(items)
    elif name in ("SETITEMS", "SETITEM"):
        items = _to_mark(stack) if name == "SETITEMS" else [stack.pop() for _ in range(2)][::-1]
        _dict(stack[-1]).update(zip(items[::2], items[1::2], strict=True))
    elif name in ("NEWOBJ", "REDUCE"):
        arguments, made = stack.pop(), stack.pop()
        stack.append(_Made(made.name, arguments))
    elif name == "BUILD":
        attributes = stack.pop()
        stack[-1].attributes.update(attributes)
    elif name == "BINPERSID":
        _, kind, key, *_ = stack.pop()
        stack.append(_Storage(key, DTYPES[kind.name.rpartition(".")[2]]))
    else:
        raise ValueError(f"its data.pkl has an instruction {name}, which archives have no need of")


def _dict(thing: Any) -> dict:
    return thing.attributes if isinstance(thing, _Made) else thing


def _to_mark(stack: list[Any]) -> list[Any]:
    """Takes what is above the last mark, and the mark."""
    place = max(index for index, item in enumerate(stack) if item is _MARK)
    items = stack[place + 1 :]
    del stack[place:]
    return items
