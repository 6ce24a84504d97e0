"""Where each member of a tar lies, so that any sample is one ``pread`` away.

The side-car ``NAME.tar.index.safetensors`` holds columns, since a data set of millions has no room for an object a
file: ten thousand samples take about a megabyte. It is written with the shard; for a tar that came from elsewhere
:func:`calligram.data.scan.scan` makes it.
"""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from calligram.errors import UserError
from calligram.files import save_arrays

SUFFIX = ".index.safetensors"
VERSION = 1
FACTS = "calligram"  # the one entry of the header: the order of several would be a matter of chance


class Member(NamedTuple):
    """Bytes of one file inside a tar."""

    offset: int
    size: int
    crc32: int


@dataclass(frozen=True)
class IndexedSample:
    """The members that share a key, by extension ("png", "txt", "json")."""

    key: str
    members: dict[str, Member]


@dataclass(frozen=True)
class Index:
    """The samples of one tar, by row.

    # n samples, M members of them all
    """

    keys: np.ndarray  # (bytes,) uint8: all keys, one behind the other
    key_ends: np.ndarray  # (n,) int64
    member_ends: np.ndarray  # (n,) int64: the members of row i end here, those of row i + 1 begin
    extension: np.ndarray  # (M,) int64: its number in ``extensions``
    offset: np.ndarray  # (M,) int64
    size: np.ndarray  # (M,) int64
    crc32: np.ndarray  # (M,) int64
    extensions: tuple[str, ...]
    num_bytes: int  # of the tar
    left_out: dict[str, int] = field(default_factory=dict)  # why samples of the tar have no row → how many

    def __len__(self) -> int:
        return len(self.key_ends)

    def __getitem__(self, row: int) -> IndexedSample:
        if not 0 <= row < len(self):
            raise IndexError(row)
        first, last = _bounds(self.member_ends, row)
        # a slice at a time: a number by itself costs NumPy ten times as much
        columns = (self.extension, self.offset, self.size, self.crc32)
        rows = zip(*(column[first:last].tolist() for column in columns), strict=True)
        members = {self.extensions[number]: Member(*numbers) for number, *numbers in rows}
        return IndexedSample(self.key(row), members)

    def __iter__(self) -> Iterator[IndexedSample]:
        return map(self.__getitem__, range(len(self)))

    def key(self, row: int) -> str:
        first, last = _bounds(self.key_ends, row)
        return self.keys[first:last].tobytes().decode(errors="surrogateescape")


_COLUMNS = ("keys", "key_ends", "member_ends", "extension", "offset", "size", "crc32")


def build(samples: Sequence[IndexedSample], num_bytes: int, left_out: dict[str, int] | None = None) -> Index:
    keys = [sample.key.encode(errors="surrogateescape") for sample in samples]
    members = [(extension, member) for sample in samples for extension, member in sample.members.items()]
    extensions = tuple(sorted({extension for extension, _ in members}))
    number = {extension: i for i, extension in enumerate(extensions)}

    def column(values: list[int]) -> np.ndarray:
        return np.array(values, np.int64)

    return Index(
        keys=np.frombuffer(b"".join(keys), np.uint8),
        key_ends=column([len(key) for key in keys]).cumsum(),
        member_ends=column([len(sample.members) for sample in samples]).cumsum(),
        extension=column([number[extension] for extension, _ in members]),
        offset=column([member.offset for _, member in members]),
        size=column([member.size for _, member in members]),
        crc32=column([member.crc32 for _, member in members]),
        extensions=extensions,
        num_bytes=num_bytes,
        left_out=left_out or {},
    )


def save(index: Index, path: Path) -> None:
    """Write an index aside and rename it."""
    facts = {
        "version": VERSION,
        "extensions": index.extensions,
        "num_bytes": index.num_bytes,
        "left_out": index.left_out,
    }
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    columns = {name: np.ascontiguousarray(getattr(index, name)) for name in _COLUMNS}
    save_arrays(columns, aside, {FACTS: json.dumps(facts)})
    os.replace(aside, path)


def load(path: Path) -> Index:
    """Read an index. Raises UserError where it is none."""
    try:
        with safe_open(path, framework="np") as file:
            facts = json.loads((file.metadata() or {})[FACTS])
            columns = {name: file.get_tensor(name) for name in _COLUMNS}
        if facts["version"] != VERSION:
            raise ValueError(f"version {facts['version']}")
        index = Index(
            **columns,
            extensions=tuple(facts["extensions"]),
            num_bytes=int(facts["num_bytes"]),
            left_out=dict(facts["left_out"]),
        )
        _check(index)
        return index
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise UserError(f"{path} is not an index that can be read ({error}): delete it, and index again") from None


def side_car(tar: Path) -> Path:
    return tar.with_name(tar.name + SUFFIX)


def _check(index: Index) -> None:
    """What reading relies on, so that a spoilt side-car fails here and not somewhere else."""
    for name in _COLUMNS:
        column = getattr(index, name)
        if column.ndim != 1 or column.dtype != (np.uint8 if name == "keys" else np.int64):
            raise ValueError(f"{name} is no column")
    if not len(index.key_ends) == len(index.member_ends):
        raise ValueError("keys and members do not match")
    for ends, total in ((index.key_ends, len(index.keys)), (index.member_ends, len(index.offset))):
        if (np.diff(ends, prepend=0) < 0).any() or (ends[-1] if len(ends) else 0) != total:
            raise ValueError("rows do not match")
    if not len(index.offset) == len(index.size) == len(index.crc32) == len(index.extension):
        raise ValueError("columns do not match")
    if len(index.offset) and (
        index.extension.min() < 0
        or index.extension.max() >= len(index.extensions)
        or index.offset.min() < 0
        or index.size.min() < 0
        or (index.offset + index.size).max() > index.num_bytes
    ):
        raise ValueError("members lie outside of the tar")


def _bounds(ends: np.ndarray, row: int) -> tuple[int, int]:
    return int(ends[row - 1]) if row else 0, int(ends[row])
