"""Vectors and what they are of in one Parquet file, as data frames and embedding-reader take them.

A row each: ``embedding``, a list of E numbers, and the facts, by name. The model and the counts are among the file's
own metadata. Rows come and go by row groups: neither side ever holds all of them.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import ValidationError

from calligram.cli.vectors import REMEDY, Dtype, IndexFile, Kind
from calligram.errors import UserError

SUFFIX = ".parquet"
EXTRA = "pip install 'calligram[parquet]'"
EMBEDDING = "embedding"  # what embedding-reader, and so clip-retrieval and autofaiss, look for
METADATA = b"calligram"
ROWS_AT_ONCE = 2**14  # of a row group
_SHARED = {"shards": "string", "split": "string", "sample": "int64"}
COLUMNS: dict[Kind, dict[str, str]] = {
    "pictures": {"picture": "string", **_SHARED, "class": "int64", "tar": "string", "member": "string"},
    "texts": {"text": "string", "file": "string", "line": "int64", **_SHARED},
}


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX


def check_parquet(path: Path) -> None:
    """Raises UserError where the library is missing, or something stands there that is no index of vectors."""
    _library(f"--out {path}")
    if path.is_dir():
        raise UserError(f"--out {path} is a folder: give the name of a file")
    if path.exists():
        try:
            ParquetVectors.open(path)
        except UserError:
            raise UserError(f"--out {path} is there already and is no index of vectors: choose another name") from None


class ParquetWriter:
    """The file gets its name once it is whole; ``close`` and ``abandon`` as of a folder's writer."""

    def __init__(self, path: Path, dims: int, dtype: Dtype, kind: Kind):
        check_parquet(path)
        pa, parquet = _library(f"--out {path}")
        self.path, self.dims, self.dtype, self.columns = path, dims, np.dtype(dtype), COLUMNS[kind]
        vector = pa.list_(pa.from_numpy_dtype(self.dtype), dims)
        facts = [pa.field(name, pa.type_for_alias(alias)) for name, alias in self.columns.items()]
        self.schema = pa.schema([*facts, pa.field(EMBEDDING, vector, nullable=False)])
        self.aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # noise does not get smaller, and a dictionary of it only larger
            names = list(self.columns)
            self.file: Any = parquet.ParquetWriter(self.aside, self.schema, use_dictionary=names, compression="zstd")
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"--out {path} cannot be written ({reason}): choose another place") from None
        self.count = 0
        self._vectors: list[np.ndarray] = []
        self._facts: list[dict[str, Any]] = []

    def add(self, rows_NE: np.ndarray, facts: list[dict[str, Any]]) -> None:
        """Vectors, and for each what it is of."""
        if len(rows_NE) != len(facts) or rows_NE.shape[1] != self.dims:
            raise ValueError(f"vectors of shape {rows_NE.shape} for {len(facts)} items of {self.dims} dimensions")
        self._vectors.append(np.asarray(rows_NE, self.dtype))
        self._facts += facts
        self.count += len(facts)
        while len(self._facts) >= ROWS_AT_ONCE:
            self._write(ROWS_AT_ONCE)

    def close(self, index: IndexFile) -> None:
        """Takes the place of an older index."""
        if self._facts:
            self._write(len(self._facts))
        self.file.add_key_value_metadata({METADATA: index.model_dump_json().encode()})
        self.file.close()
        self.aside.replace(self.path)

    def abandon(self) -> None:
        with suppress(OSError):
            self.file.close()
        self.aside.unlink(missing_ok=True)

    def _write(self, count: int) -> None:
        """The first of the rows that wait, as one row group."""
        pa, _ = _library(f"--out {self.path}")
        rows_NE, facts = np.concatenate(self._vectors), self._facts[:count]
        columns: list[Any] = [
            pa.array([_fitting(each.get(name), alias) for each in facts], pa.type_for_alias(alias))
            for name, alias in self.columns.items()
        ]
        numbers = pa.array(np.ascontiguousarray(rows_NE[:count]).reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(numbers, self.dims))
        self.file.write_table(pa.table(columns, schema=self.schema), row_group_size=count)
        self._vectors, self._facts = [rows_NE[count:]], self._facts[count:]


def _fitting(value: Any, alias: str) -> Any:
    """A column has one type: a class that is no number is left out."""
    wanted = str if alias == "string" else int
    return value if isinstance(value, wanted) else None


class _Rows:
    """Vectors (N, E) of a file as an array is indexed, by a slice or by numbers; read when they are asked for."""

    def __init__(self, file: Any, dims: int, name: str):
        self.file, self.name = file, name
        counts = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self.first_of_group = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.shape = (int(self.first_of_group[-1]), dims)
        self._newest: tuple[int, np.ndarray] = (-1, np.empty((0, dims)))  # single rows often lie in one group

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Sequence[int]) -> np.ndarray:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                raise ValueError(f"rows come one after the other, not by {step}")
            return self._between(start, stop)
        return np.concatenate([self._between(row, row + 1) for row in rows] or [np.empty((0, self.shape[1]))])

    def _between(self, start: int, stop: int) -> np.ndarray:
        parts = [np.empty((0, self.shape[1]), np.float32)]
        for group in range(self.group_of(start), len(self.first_of_group) - 1):
            first, last = (int(x) for x in self.first_of_group[group : group + 2])
            if first >= stop:
                break
            parts.append(self._group(group)[max(start - first, 0) : min(stop, last) - first])
        return np.concatenate(parts[1:]) if len(parts) > 1 else parts[0]

    def _group(self, group: int) -> np.ndarray:
        """All vectors of a row group, without an object a number."""
        if self._newest[0] == group:
            return self._newest[1]
        column = self.file.read_row_group(group, columns=[EMBEDDING]).column(EMBEDDING).combine_chunks()
        numbers = column.flatten().to_numpy(zero_copy_only=False)  # of a list without a value, none
        if column.null_count or numbers.size != len(column) * self.shape[1]:
            raise UserError(f"{self.name}: not every {EMBEDDING} has {self.shape[1]} numbers: {REMEDY}")
        self._newest = group, numbers.reshape(-1, self.shape[1])
        return self._newest[1]

    def group_of(self, row: int) -> int:
        return int(np.searchsorted(self.first_of_group, row, side="right")) - 1


class ParquetVectors:
    """An index in a file; rows are read when they are asked for."""

    def __init__(self, path: Path, index: IndexFile, file: Any):
        self.path, self.index, self.file = path, index, file
        self.rows_NE = _Rows(file, index.dims, str(path))

    @property
    def graph_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.usearch")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises UserError where it is no index, or not whole."""
        pa, parquet = _library(str(path))
        try:
            file: Any = parquet.ParquetFile(path, memory_map=True)
            index = IndexFile.model_validate_json((file.metadata.metadata or {}).get(METADATA, b""))
        except OSError as error:
            raise UserError(f"{path} is no index of vectors ({error.strerror or error}): {REMEDY}") from None
        except pa.ArrowInvalid as error:
            raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}): {REMEDY}") from None
        except ValidationError:
            raise UserError(f"{path} does not say which model its vectors are of: {REMEDY}") from None
        found = cls(path, index, file)
        if found.rows_NE.shape != (index.count, index.dims) or EMBEDDING not in file.schema_arrow.names:
            raise UserError(f"{path} has {len(found.rows_NE):,} rows, not the {index.count:,} that it had: {REMEDY}")
        return found

    def facts(self, numbers: list[int]) -> list[dict[str, Any]]:
        """What the rows of these numbers are of."""
        names = [name for name in self.file.schema_arrow.names if name != EMBEDDING]
        found: dict[int, dict[str, Any]] = {}
        for group in sorted({self.rows_NE.group_of(number) for number in numbers}):
            first, last = (int(x) for x in self.rows_NE.first_of_group[group : group + 2])
            wanted = sorted({number for number in numbers if first <= number < last})
            table = self.file.read_row_group(group, columns=names).take([number - first for number in wanted])
            found |= zip(wanted, table.to_pylist(), strict=True)
        return [{name: value for name, value in found[n].items() if value is not None} for n in numbers]


def _library(what: str) -> tuple[Any, Any]:
    """pyarrow and its Parquet part. Raises UserError where it is not installed."""
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]  # an extra
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(f"{what}: a {SUFFIX} file needs a library that is missing: {EXTRA}") from None
    return pyarrow, parquet
