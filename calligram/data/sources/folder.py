"""The source ``folder``: a person's own pictures, with what a table, text files or folder names say about them."""

import re
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from pydantic import Field

from calligram.data.lookup import look_up
from calligram.data.own_pictures import Found, find_pictures
from calligram.data.picture_file import read_picture
from calligram.data.sample import Sample
from calligram.data.source import Source
from calligram.errors import UserError

# Pillow refuses pictures with more than this as an attack on memory
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 89_478_485)


class FolderSource(Source):
    """Captions come from the first of these that ``root`` has:

    - a table: ``root`` itself, or ``metadata`` or ``captions`` (.csv, .tsv, .jsonl) in the folder. Paths are
      relative to the table; several captions are repeated rows or, in JSONL, a list;
    - text files: ``dog.txt`` beside ``dog.jpg``, each line a caption;
    - sub-folders as classes: ``golden_retriever/1.jpg`` is "golden retriever".

    Pictures that cannot be used are left out and told: how many, and the first few by name.
    """

    name: ClassVar[str] = "folder"
    licence: ClassVar[str] = "the owner's"

    root: Path  # a folder of pictures, or a table
    test_fraction: float = Field(default=0.1, ge=0, lt=1)  # share in test; by path, so it stays as pictures come
    max_size: int = Field(default=512, ge=8)  # pixels of the shorter side; larger pictures are scaled down
    max_pixels: int = Field(default=100_000_000, ge=1, le=MOST_PIXELS)  # a picture with more is left out
    image_column: str | None = None  # the table's column of paths, where its name is an unusual one
    caption_column: str | None = None  # the table's column of captions, likewise

    def splits(self) -> dict[str, int]:
        """Number of usable pictures in train and test; no test where none falls into it."""
        return {split: len(pictures) for split, pictures in self.entries.items()}

    def sample(self, split: str, index: int) -> Sample:
        """A picture with all of its captions; ``meta`` has its path and, from sub-folders, its class."""
        found = look_up(self.entries, split, index)
        image, extension = read_picture(found.path, self.max_size)
        meta: dict[str, Any] = {"path": found.relative}
        if found.class_name is not None:
            meta["class"] = self.class_names().index(found.class_name)
        return Sample(key_of(found), image, found.captions, meta, extension)

    def class_names(self) -> list[str]:
        """The sub-folders' names with spaces, sorted; none where captions come from elsewhere."""
        return self._class_names

    def templates(self) -> list[str]:
        """What the captions of a class say."""
        return ["{}", "a picture of {}"] if self._class_names else ["{}"]

    @property
    def skipped(self) -> list[tuple[Path, str]]:
        """Pictures that are left out, each with the reason."""
        return [(found.path, found.problem) for found in self._found if found.problem is not None]

    @cached_property
    def entries(self) -> dict[str, list[Found]]:
        """The usable pictures of each split, in an order that mixes the classes and is always the same."""
        usable = sorted((found for found in self._found if found.problem is None), key=lambda found: hash_of(found))
        if not usable:
            raise UserError(f"no usable picture in {self.root}{self._first_problem()}")
        # the hash as a number between 0 and 1: those under the fraction come first
        num_test = sum(int(hash_of(found)[:16], 16) / 16**16 < self.test_fraction for found in usable)
        if num_test == len(usable):
            raise UserError(f"all {num_test} pictures of {self.root} fall into the test: give --test-fraction 0")
        splits = {"train": usable[num_test:], "test": usable[:num_test]}
        return {split: pictures for split, pictures in splits.items() if pictures}

    @cached_property
    def _found(self) -> list[Found]:
        return find_pictures(self.root, self.max_pixels, self.image_column, self.caption_column)

    @cached_property
    def _class_names(self) -> list[str]:
        pictures = [found for pictures in self.entries.values() for found in pictures]
        return sorted({found.class_name for found in pictures if found.class_name is not None})

    def _first_problem(self) -> str:
        if not self.skipped:
            return ": it has no files with a picture's ending"
        path, problem = self.skipped[0]
        return f": {len(self.skipped)} left out, the first {path.name} ({problem})"


def hash_of(found: Found) -> str:
    return sha256(found.relative.encode("utf-8", "surrogateescape")).hexdigest()


def key_of(found: Found) -> str:
    """A readable part, then enough of the hash to tell all pictures apart."""
    stem = re.sub("[^A-Za-z0-9]+", "-", Path(found.relative).stem)[:40].strip("-")
    return f"{stem}-{hash_of(found)[:16]}".strip("-")
