"""Find a person's pictures and what is said about them: by a table, by text files beside them, or by sub-folders."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from calligram.data.caption_table import SUFFIXES as TABLE_SUFFIXES
from calligram.data.caption_table import read_captions
from calligram.data.picture_file import SUFFIXES as PICTURE_SUFFIXES
from calligram.data.picture_file import why_unusable
from calligram.errors import UserError
from calligram.progress import track

# pictures too, which are reported rather than passed over without a word
UNREAD_SUFFIXES = frozenset({".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd"}) - PICTURE_SUFFIXES
TABLE_NAMES = tuple(f"{stem}{suffix}" for stem in ("metadata", "captions") for suffix in TABLE_SUFFIXES)


@dataclass(frozen=True)
class Found:
    """A picture with its captions, or with the reason why it is left out."""

    path: Path
    relative: str  # to the folder or the table's folder, with "/" on every system
    captions: tuple[str, ...] = ()
    class_name: str | None = None
    problem: str | None = None


def find_pictures(
    root: Path, max_pixels: int, image_column: str | None = None, caption_column: str | None = None
) -> list[Found]:
    """Every picture under ``root``, a folder or a table, in the order of their paths, the unusable ones included."""
    found = list(_find(root, image_column, caption_column))
    return [_check(picture, max_pixels) for picture in track(found, f"check pictures in {root.name}")]


def _find(root: Path, image_column: str | None, caption_column: str | None) -> Iterator[Found]:
    table = _table(root)
    if table is not None:
        return _from_table(table, read_captions(table, image_column, caption_column))
    if image_column is not None or caption_column is not None:
        raise UserError(
            f"{root} has no table ({', '.join(TABLE_NAMES)}): leave out --image-column and --caption-column"
        )
    pictures = sorted(_walk(root), key=lambda path: _relative(path, root))
    if any(path.with_suffix(".txt").is_file() for path in pictures):
        return _from_text_files(pictures, root)
    return _from_sub_folders(pictures, root)


def _table(root: Path) -> Path | None:
    if root.is_dir():
        tables = [root / name for name in TABLE_NAMES if (root / name).is_file()]
        if len(tables) > 1:
            raise UserError(
                f"{root} has several tables, {', '.join(t.name for t in tables)}: give one of them as --root"
            )
        return tables[0] if tables else None
    if not root.exists():
        raise UserError(f"{root} does not exist: give a folder of pictures or a table as --root")
    if root.suffix.lower() not in TABLE_SUFFIXES:
        raise UserError(f"{root} is neither a folder nor a table ({', '.join(TABLE_SUFFIXES)}): give one as --root")
    return root


def _walk(root: Path) -> Iterator[Path]:
    """Files that are named as pictures, hidden ones and hidden folders left out, links to folders not followed."""
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in PICTURE_SUFFIXES | UNREAD_SUFFIXES:
                yield path


def _from_table(table: Path, captions: dict[str, tuple[str, ...]]) -> Iterator[Found]:
    for relative in sorted(captions):
        found = Found(table.parent / relative, relative, captions[relative])
        if not relative:
            yield _leave_out(found, "rows of the table without a path")
        elif "://" in relative:
            yield _leave_out(found, "an address on the net: fetch the picture and give its path")
        elif not found.captions:
            yield _leave_out(found, "no caption in the table")
        else:
            yield found


def _from_text_files(pictures: list[Path], root: Path) -> Iterator[Found]:
    for path in pictures:
        text_path = path.with_suffix(".txt")
        found = Found(path, _relative(path, root))
        try:
            lines = text_path.read_text("utf-8-sig").splitlines()
        except FileNotFoundError:
            yield _leave_out(found, f"no {text_path.name} beside it")
        except (OSError, UnicodeDecodeError) as error:
            yield _leave_out(found, f"{text_path.name} cannot be read ({error})")
        else:
            captions = tuple(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
            problem = None if captions else f"{text_path.name} is empty"
            yield Found(path, found.relative, captions, problem=problem)


def _from_sub_folders(pictures: list[Path], root: Path) -> Iterator[Found]:
    """The class is the innermost folder, so that train/cat and val/cat are one."""
    for path in pictures:
        class_name = " ".join(path.parent.name.replace("_", " ").replace("-", " ").split())
        found = Found(path, _relative(path, root), (class_name, f"a picture of {class_name}"), class_name)
        if path.parent == root or not class_name:
            yield _leave_out(found, "nothing says what it shows: no .txt beside it, no sub-folder, no table")
        else:
            yield found


def _check(found: Found, max_pixels: int) -> Found:
    if found.problem is not None:
        return found
    if found.path.suffix.lower() in UNREAD_SUFFIXES:
        return _leave_out(found, f"{found.path.suffix} files are not read here: convert it to JPEG or PNG")
    problem = why_unusable(found.path, max_pixels)
    return found if problem is None else _leave_out(found, problem)


def _leave_out(found: Found, problem: str) -> Found:
    return Found(found.path, found.relative, problem=problem)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
