"""Pictures with classes or captions in Parquet files, as the library ``datasets`` writes them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calligram.data.named.rows import Row
from calligram.errors import UserError

EXTRA = "pip install 'calligram[parquet]'"
FEATURES = b"huggingface"  # the key of the schema's metadata
CAPTIONS = ("caption", "captions", "text", "texts", "sentences", "sentence")
BATCH = 256  # rows in memory at once


def check_library(what: str) -> Any:
    """pyarrow's Parquet part. Raises UserError where it is not installed."""
    try:
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise UserError(f"{what} is read from Parquet files, which needs a library that is missing: {EXTRA}") from None
    return parquet


class ParquetRows(Sequence[Row]):
    """Rows in any order: the pictures' bytes lie one behind the other in a file of their own."""

    def __init__(self, spool: Path, ends: list[int], words: list[Any], class_names: tuple[str, ...]):
        self.spool, self.ends, self.words, self.class_names = spool, np.array([0, *ends], np.int64), words, class_names

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: Any) -> Any:
        first, last = self.ends[index : index + 2].tolist()
        with self.spool.open("rb") as file:
            file.seek(first)
            image = file.read(last - first)
        word = self.words[index]
        return Row(image, label=word) if self.class_names else Row(image, captions=word)


def open_rows(paths: Sequence[Path], spool: Path, name: str) -> ParquetRows:
    """The rows of some files; ``spool`` is where their pictures are laid. Raises UserError where they have none."""
    parquet = check_library(name)
    ends: list[int] = []
    words: list[Any] = []
    names: tuple[str, ...] = ()
    with spool.open("wb") as out:
        for path in paths:
            file = _open(parquet, path, name)
            image, said, names = _columns(file.schema_arrow, name)
            for batch in file.iter_batches(BATCH, columns=[image, said]):
                for row in batch.to_pylist():
                    out.write(_bytes(row[image], len(words), name))
                    ends.append(out.tell())
                    words.append(
                        _label(row[said], len(words), name) if names else _captions(row[said], len(words), name)
                    )
    return ParquetRows(spool, ends, words, names)


def _open(parquet: Any, path: Path, name: str) -> Any:
    try:
        return parquet.ParquetFile(path, memory_map=True)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise UserError(f"{name}: a file of it is not Parquet ({str(error).splitlines()[0]}): try again") from None


def _columns(schema: Any, name: str) -> tuple[str, str, tuple[str, ...]]:
    """Columns of the pictures and of what is said of them, and the names of the classes, none for captions."""
    features = _features(schema)
    image = next((each for each in schema.names if _is_image(schema, features, each)), None)
    if image is None:
        raise UserError(f"{name} has no pictures among its columns {', '.join(schema.names)}: give a set of pictures")
    for column in schema.names:
        feature = features.get(column)
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names"):
            return image, column, tuple(" ".join(each.replace("_", " ").split()) or each for each in feature["names"])
    said = next((each for known in CAPTIONS for each in schema.names if each.lower() == known), None)
    if said is None:
        raise UserError(
            f"{name} says nothing of its pictures that is understood here: no names of classes, no column "
            f"{', '.join(CAPTIONS[:3])} among {', '.join(schema.names)}"
        )
    return image, said, ()


def _features(schema: Any) -> dict[str, Any]:
    try:
        found = json.loads((schema.metadata or {}).get(FEATURES, b"{}"))["info"]["features"]
        return found if isinstance(found, dict) else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _is_image(schema: Any, features: dict[str, Any], column: str) -> bool:
    feature = features.get(column)
    if isinstance(feature, dict) and feature.get("_type"):
        return feature["_type"] == "Image"
    kind = str(schema.field(column).type)  # struct<bytes: binary, path: string>, or the bytes alone
    return "binary" in kind and (kind.startswith("struct<") or column.lower() in ("image", "img", "png", "jpg"))


def _bytes(cell: Any, row: int, name: str) -> bytes:
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes) or not data:
        raise UserError(f"{name}, row {row}: the picture lies elsewhere, not in the file: fetch the data set by hand")
    return data


def _label(cell: Any, row: int, name: str) -> int:
    if not isinstance(cell, int):
        raise UserError(f"{name}, row {row}: the class is {cell!r} and no number: choose another data set or config")
    return cell


def _captions(cell: Any, row: int, name: str) -> tuple[str, ...]:
    texts = cell if isinstance(cell, list) else [cell]
    found = tuple(" ".join(text.split()) for text in texts if isinstance(text, str) and text.strip())
    if not found:
        raise UserError(f"{name}, row {row}: no caption: choose another data set or config")
    return found
