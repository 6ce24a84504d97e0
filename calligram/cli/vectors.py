"""A folder of vectors with what each of them is of: written as it comes, read without loading it.

``vectors.npy`` (N, E) · ``items.jsonl``, a line a row · ``index.json``, the model and the counts.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from calligram.errors import UserError

VECTORS, ITEMS, INDEX = "vectors.npy", "items.jsonl", "index.json"
GRAPH = "vectors.usearch"
Dtype = Literal["float32", "float16"]
Kind = Literal["pictures", "texts"]
REMEDY = "make it anew with `calligram embed`"


class IndexFile(BaseModel):
    """What ``index.json`` says."""

    model_config = ConfigDict(frozen=True)

    type: Literal["calligram-vectors"] = "calligram-vectors"
    version: int = 1
    model: str
    model_hash: str
    kind: Kind
    dims: int
    dtype: Dtype
    count: int
    unreadable: int = 0
    folder: str = ""  # to which the paths of the items are relative
    native: int | None = None  # patches of a picture at most, where the model was asked for native pictures


class VectorWriter:
    """Rows go to disk as they come; the folder gets its name once it is whole."""

    def __init__(self, folder: Path, dims: int, dtype: Dtype):
        check_folder(folder)
        self.folder, self.dims, self.dtype = folder, dims, np.dtype(dtype)
        self.aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        try:
            self.aside.mkdir(parents=True)
            self.vectors = (self.aside / VECTORS).open("wb")
            self.items = (self.aside / ITEMS).open("w", encoding="utf-8")
        except OSError as error:
            raise UserError(f"--out {folder} cannot be written ({error.strerror}): choose another place") from None
        self.count = 0
        self._write_header()

    def add(self, rows_NE: np.ndarray, facts: list[dict[str, Any]]) -> None:
        """Vectors, and for each what it is of."""
        if len(rows_NE) != len(facts) or rows_NE.shape[1] != self.dims:
            raise ValueError(f"vectors of shape {rows_NE.shape} for {len(facts)} items of {self.dims} dimensions")
        self.vectors.write(np.ascontiguousarray(rows_NE, self.dtype).tobytes())
        self.items.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in facts)
        self.count += len(facts)

    def close(self, index: IndexFile) -> None:
        """Takes the place of an older index."""
        self.vectors.seek(0)
        self._write_header()
        self.vectors.close()
        self.items.close()
        (self.aside / INDEX).write_text(index.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.aside.rename(self.folder)

    def abandon(self) -> None:
        self.vectors.close()
        self.items.close()
        shutil.rmtree(self.aside, ignore_errors=True)

    def _write_header(self) -> None:
        # NumPy leaves room in it for a first axis that grows: its length does not depend on the count
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count, self.dims)}
        np.lib.format.write_array_header_1_0(self.vectors, header)


def check_folder(folder: Path) -> None:
    """Raises UserError for what is there already and is no index."""
    if folder.exists() and not (folder / INDEX).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--out {folder} is there already and is no index of vectors: choose another name")


class Vectors:
    """An index that is there; rows are read from disk when they are asked for."""

    def __init__(self, folder: Path, index: IndexFile, rows_NE: np.ndarray):
        self.folder, self.index, self.rows_NE = folder, index, rows_NE

    @property
    def graph_path(self) -> Path:
        return self.folder / GRAPH

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises UserError where it is no index, or not whole."""
        try:
            index = IndexFile.model_validate_json((folder / INDEX).read_bytes())
            rows_NE = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise UserError(f"{folder} is no index of vectors ({error.strerror}): {REMEDY}") from None
        except ValidationError as error:
            raise UserError(f"{folder / INDEX} is damaged ({error.errors()[0]['msg']}): {REMEDY}") from None
        except (ValueError, EOFError) as error:
            raise UserError(f"{folder / VECTORS} is damaged ({error}): {REMEDY}") from None
        if rows_NE.shape != (index.count, index.dims):
            raise UserError(f"{folder / VECTORS} is {rows_NE.shape}, not {index.count, index.dims}: {REMEDY}")
        return cls(folder, index, rows_NE)

    def facts(self, numbers: list[int]) -> list[dict[str, Any]]:
        """What the rows of these numbers are of; the file is read to the last of them."""
        wanted, found = set(numbers), {}
        for number, line in self._lines():
            if number in wanted:
                found[number] = json.loads(line)
                if len(found) == len(wanted):
                    break
        if len(found) != len(wanted):
            raise UserError(f"{self.folder / ITEMS} has fewer lines than {self.index.count:,}: {REMEDY}")
        return [found[number] for number in numbers]

    def _lines(self) -> Iterator[tuple[int, str]]:
        with (self.folder / ITEMS).open(encoding="utf-8") as file:
            yield from enumerate(file)
