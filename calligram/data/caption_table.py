"""Tables of pictures and captions: CSV, TSV or JSONL, in whichever words the columns are named."""

import csv
import json
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from calligram.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".csv", ".tsv", ".jsonl")
# compared in lower case without spaces, "_" and "-"; the first of a row of names that is there wins
IMAGE_COLUMNS = ("image", "path", "imagepath", "file", "filepath", "filename", "imagefile", "img", "url", "imageurl")
CAPTION_COLUMNS = ("caption", "captions", "text", "title")


def read_captions(
    path: Path, image_column: str | None = None, caption_column: str | None = None
) -> dict[str, tuple[str, ...]]:
    """Each picture's path, relative to the table → its captions, those of repeated rows together.

    A picture whose rows say nothing is there with no captions; rows without a path stand under "".
    UserError where the table cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _collect(path, _rows(path, file), image_column, caption_column)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a table that can") from error


def _collect(
    path: Path, rows: Iterator[dict[str, Any]], image_column: str | None, caption_column: str | None
) -> dict[str, tuple[str, ...]]:
    captions: dict[str, tuple[str, ...]] = {}
    image_key = caption_key = None
    for row in rows:
        if image_key is None or caption_key is None:
            image_key = _choose(path, row, "image", image_column, IMAGE_COLUMNS)
            caption_key = _choose(path, row, "caption", caption_column, CAPTION_COLUMNS)
        picture = _picture(row.get(image_key))
        known = captions.get(picture, ())
        captions[picture] = (*known, *(text for text in _texts(row.get(caption_key)) if text not in known))
    return captions


def _rows(path: Path, file: TextIO) -> Iterator[dict[str, Any]]:
    return _json_rows(path, file) if path.suffix.lower() == ".jsonl" else _csv_rows(path, file)


def _csv_rows(path: Path, file: TextIO) -> Iterator[dict[str, Any]]:
    # strict: else a quotation mark that is never closed swallows the rest of the table without a word
    reader = csv.DictReader(file, delimiter=DELIMITERS[path.suffix.lower()], strict=True)
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(
            f"{path}, row from line {reader.line_num + 1}: {error}: mend the quotation marks there"
        ) from error


def _json_rows(path: Path, file: TextIO) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number} is not a JSON object: write one object with named fields a line")
        yield row


def _choose(path: Path, row: dict[str, Any], what: str, wanted: str | None, usual: tuple[str, ...]) -> str:
    """The table's own name of the wanted column, or of the first of the usual ones that it has."""
    columns = [column for column in row if isinstance(column, str)]  # None holds a CSV row's surplus cells
    by_plain_name = {_plain(column): column for column in reversed(columns)}
    for name in usual if wanted is None else (_plain(wanted),):
        if name in by_plain_name:
            return by_plain_name[name]
    missing = f"no {what} column" if wanted is None else f"no column {wanted!r}"
    raise UserError(f"{path} has {missing} among {', '.join(map(repr, columns))}: name it with --{what}-column")


def _plain(column: str) -> str:
    return column.lower().translate({ord(mark): None for mark in " _-"})


def _picture(cell: object) -> str:
    """A path in one spelling (``./a.jpg`` → ``a.jpg``), an address as it is, "" where there is neither."""
    text = cell.strip() if isinstance(cell, str) else ""
    return posixpath.normpath(text) if text and "://" not in text else text


def _texts(cell: object) -> list[str]:
    """The captions in a cell: a text, or in JSONL a list of texts; each with single spaces, none empty."""
    texts = cell if isinstance(cell, list) else [cell]
    cleaned = [" ".join(text.split()) for text in texts if isinstance(text, str)]
    return [text for text in dict.fromkeys(cleaned) if text]
