"""Pictures that a person names: files, folders and patterns such as ``photos/*.jpg``."""

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from calligram.data.decode import BadImage, decode_image
from calligram.data.picture_file import SUFFIXES
from calligram.errors import UserError


def find_pictures(words: tuple[str, ...]) -> list[Path]:
    """Each file once, in the order given. A name of nothing stays in the list: reading it tells what is wrong."""
    found = [path for word in words for path in _named_by(word)]
    return list(dict.fromkeys(found))


def _named_by(word: str) -> list[Path]:
    path = Path(word)
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise UserError(f"folder {word} has no pictures ({', '.join(sorted(SUFFIXES))})")
        return inside
    if path.exists() or not glob.has_magic(word):
        return [path]
    matching = sorted(p for p in map(Path, glob.glob(word, recursive=True)) if p.is_file())
    if not matching:
        raise UserError(f"no file matches {word!r}")
    return matching


def read_pictures(paths: Iterable[Path]) -> Iterator[tuple[Path, Image.Image | str]]:
    """Each path with its picture, upright RGB, or with what is wrong."""
    for path in paths:
        try:
            yield path, decode_image(path.read_bytes())
        except BadImage as error:
            yield path, str(error)
        except OSError as error:
            yield path, "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
