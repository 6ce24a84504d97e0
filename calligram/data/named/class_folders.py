"""A folder of picture files, as torchvision's ImageFolder reads it: sub-folders are classes, perhaps below splits."""

import logging
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

from calligram.data.catalogue import CLASS_NAMES
from calligram.data.named import splits as split_names
from calligram.data.named.rows import PHOTO, as_member, write
from calligram.data.named.store import keep
from calligram.data.own_pictures import Found, find_pictures
from calligram.data.sample import Sample
from calligram.data.sources.folder import FolderSource, hash_of, key_of
from calligram.errors import UserError

log = logging.getLogger(__name__)
SPLITS = frozenset({split_names.TRAIN, *split_names.TESTS})  # where all folders are called so, they are no classes


def open_folder(root: Path) -> Path:
    """The folder of a manifest for pictures in folders; written once, and anew when a file in there is another one.

    ``root`` may as well be a table of pictures and captions. Raises UserError where no picture can be used.
    """

    def write_all(out: Path) -> None:
        source = ClassFolders(root=root)
        origin = {"type": "folder", "place": str(root)}
        write(source, out, root.resolve().name, source.licence, origin)
        if source.skipped:
            (path, reason), *others = source.skipped
            more = f", and {len(others)} more" if others else ""
            log.warning(f"{root}: left out {path.relative_to(source.top)} ({reason}){more}")

    return keep(root.resolve().name, ["folder", str(root.resolve()), _files(root)], write_all)


def _files(root: Path) -> list[tuple[str, int, int]]:
    """Name, bytes and time of change of each file."""
    found = []
    for folder, names, files in os.walk(root if root.is_dir() else root.parent):
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            stat = os.stat(path) if os.path.exists(path := os.path.join(folder, name)) else None  # a dead link
            found.append((path, stat.st_size if stat else -1, stat.st_mtime_ns if stat else -1))
    return sorted(found)


class ClassFolders(FolderSource):
    """As the source ``folder``, but no picture is written anew, a class is the outermost folder, splits are folders.

    The names of classes are those of the folders, or stand in ``classnames.txt``, a line for each folder in their
    order. Where a table or text files say what the pictures show, that is taken instead.
    """

    name: ClassVar[str] = "class-folders"
    licence: ClassVar[str] = "the owner's"

    def sample(self, split: str, index: int) -> Sample:
        """A picture, byte for byte as its file has it."""
        found = self.entries[split][index]
        image, extension = as_member(found.path, found.relative)
        captions, meta = found.captions, {"path": found.relative}
        if found.class_name is not None:
            label = self._folders.index(found.class_name)
            meta |= {"class": label}
            captions = tuple(template.replace("{}", self._class_names[label]) for template in self.templates())
        return Sample(key_of(found), image, captions, meta, extension)

    def templates(self) -> list[str]:
        """What CLIP's paper says of any class."""
        return [PHOTO] if self._class_names else ["{}"]

    @property
    def top(self) -> Path:
        """The folder that the pictures' paths begin in."""
        return self.root if self.root.is_dir() else self.root.parent

    @cached_property
    def entries(self) -> dict[str, list[Found]]:
        """The usable pictures of each split, in an order that mixes the classes and is always the same."""
        usable = sorted((found for found in self._found if found.problem is None), key=hash_of)
        if not usable:
            raise UserError(f"no usable picture in {self.root}{self._first_problem()}")
        there: dict[str, list[Found]] = {}
        for found in usable:
            there.setdefault(_parts(found)[0] if self._has_splits else split_names.TEST, []).append(found)
        return {ours: there[theirs] for ours, theirs in split_names.rename(sorted(there)).items()}

    @cached_property
    def _has_splits(self) -> bool:
        """Whether all pictures lie in folders that are named as splits."""
        return all(len(_parts(found)) > 1 and _parts(found)[0] in SPLITS for found in self._every)

    @cached_property
    def _every(self) -> list[Found]:
        return find_pictures(self.root, self.max_pixels, self.image_column, self.caption_column)

    @cached_property
    def _found(self) -> list[Found]:
        return [found if found.class_name is None else self._classed(found) for found in self._every]

    def _classed(self, found: Found) -> Found:
        """The same picture by the folder that is its class: the first one, or the first below its split's."""
        inner = _parts(found)[self._has_splits :]
        if len(inner) > 1:
            return replace(found, class_name=inner[0])
        return replace(found, class_name=None, problem="it lies in a split's folder and in no class's")

    @cached_property
    def _folders(self) -> list[str]:
        return sorted({found.class_name for found in self._found if found.class_name is not None})

    @cached_property
    def _class_names(self) -> list[str]:
        path = self.top / CLASS_NAMES
        if not self._folders or not path.is_file():
            return [folder.replace("_", " ").strip() or folder for folder in self._folders]
        try:
            lines = [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
        except UnicodeDecodeError:
            raise UserError(f"{path} is not UTF-8 text: write it again") from None
        if len(lines) != len(self._folders):
            raise UserError(
                f"{path} has {len(lines)} lines for {len(self._folders)} folders: write one for each, in their order"
            )
        return lines


def _parts(found: Found) -> tuple[str, ...]:
    return PurePosixPath(found.relative).parts
