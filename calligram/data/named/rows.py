"""A data set that is there row by row, as a source that the writer of shards takes."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import ConfigDict, Field

from calligram.data.decode import EXTENSIONS
from calligram.data.lookup import look_up
from calligram.data.manifest import Manifest
from calligram.data.permute import mix, permute
from calligram.data.picture_file import FORMATS
from calligram.data.sample import Sample
from calligram.data.source import Source
from calligram.data.writer import write_shards
from calligram.errors import UserError

PHOTO = "a photo of a {}."  # what a class is called where the data set has no sentence of its own


class Row(NamedTuple):
    """A picture, of which a file or bytes are kept as they are, and its class or its captions."""

    image: Image.Image | Path | bytes
    label: int | None = None
    captions: tuple[str, ...] = ()


class Rows(Source):
    """Rows in an order that mixes the classes and is always the same: the first thousand are a fair sample."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    name: ClassVar[str] = "rows"
    licence: ClassVar[str] = "unknown"

    names: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ("{}",)
    rows: dict[str, Any] = Field(exclude=True)  # split → sequence of Row

    def splits(self) -> dict[str, int]:
        """Number of rows in each split."""
        return {split: len(rows) for split, rows in self.rows.items()}

    def sample(self, split: str, index: int) -> Sample:
        """A row; the captions of a class are its sentences."""
        rows: Sequence[Row] = self.rows[split]
        look_up(self.rows, split, index)
        place = int(permute(np.array([index]), len(rows), mix(0))[0])
        row, key = rows[place], f"{split}-{place:07d}"
        captions, meta = row.captions, {}
        if row.label is not None:
            if not 0 <= row.label < len(self.names):
                raise UserError(
                    f"row {place} of {split} has the class {row.label}, of {len(self.names)} (from 0): "
                    f"a split whose classes are kept secret cannot be evaluated on; choose another"
                )
            captions = tuple(sentence.replace("{}", self.names[row.label]) for sentence in self.sentences)
            meta = {"class": row.label, "name": self.names[row.label]}
        image, extension = as_member(row.image, key)
        return Sample(key, image, captions, meta, extension)

    def class_names(self) -> list[str]:
        """As they were given."""
        return list(self.names)

    def templates(self) -> list[str]:
        """The sentences."""
        return list(self.sentences)


def as_member(image: Image.Image | Path | bytes, name: str) -> tuple[Image.Image | bytes, str]:
    """What a shard holds of a picture, and its extension. Raises UserError for bytes that are no picture."""
    if isinstance(image, Image.Image):
        return image, "png"
    try:
        if isinstance(image, Path):
            name, image = str(image), image.read_bytes()
        with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
            extension = {"JPEG": "jpg", "MPO": "jpg"}.get(opened.format or "", (opened.format or "").lower())
    except UnidentifiedImageError:
        raise UserError(f"{name} is not a picture in a format that is read here: fetch or mend it") from None
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror or error}): fetch or mend it") from None
    assert extension in EXTENSIONS, extension
    return image, extension


def write(source: Source, folder: Path, name: str, licence: str, origin: dict[str, Any]) -> None:
    """Fill a folder with the shards of a source, and say in its manifest what it was made of."""
    made: Manifest = write_shards(source, folder)
    made.model_copy(update={"name": name, "licence": licence, "source": origin}).save(folder)


def unknown(where: str) -> str:
    """The licence of what says nothing about it."""
    return f"unknown, see {where}"
