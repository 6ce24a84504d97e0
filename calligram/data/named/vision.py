"""``torchvision:NAME`` and ``torchvision:NAME:ROOT``: data sets as torchvision fetches, checks and reads them.

Three are read by our own hands. CIFAR's files are pickles, which are never unpickled here
(:mod:`calligram.data.named.plain_pickle`), and Fashion-MNIST may lie where Debian's package puts it.
"""

import contextlib
import difflib
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from calligram.data import cache
from calligram.data.named import plain_pickle
from calligram.data.named.rows import Row, Rows, unknown, write
from calligram.data.named.store import keep
from calligram.data.named.vision_table import SETS, VisionSet
from calligram.data.sources import fashion_mnist
from calligram.errors import UserError

# where a data set of torchvision has its picture files and their classes; what has neither is asked picture by picture
_FILES = ("_image_files", "_images", "samples", "_samples")
_PAGE = "https://pytorch.org/vision/stable/datasets.html"


def open_named(text: str) -> Path:
    """The folder of a manifest for ``NAME`` or ``NAME:ROOT``. Raises UserError where it is unknown or not to be had.

    Without a root it is fetched into the cache; a root is only read.
    """
    name, _, root = text.partition(":")
    if name not in SETS:
        raise UserError(f"torchvision:{name} is no data set with names of classes: {_meant(name)}")
    folder = Path(root) if root else None
    if folder is not None and not folder.is_dir():
        raise UserError(f"torchvision:{text}: {root} is not a folder: give the one that torchvision's files lie in")
    facts = ["torchvision", name, _stamp(folder) if folder is not None else None]

    def fill(out: Path) -> None:
        known = SETS[name]
        names, rows = _read(name, known, folder)
        source = Rows(names=names, sentences=known.templates, rows=rows)
        origin = {"type": "torchvision", "name": name, "place": root or None}
        write(source, out, name, known.licence or unknown(_PAGE), origin)

    return keep(name, facts, fill)


def _meant(name: str) -> str:
    known = {each.lower(): each for each in SETS}
    near = difflib.get_close_matches(name.lower().replace("-", ""), known, n=1)
    return f"did you mean torchvision:{known[near[0]]}?" if near else f"there are: {', '.join(SETS)}"


def _stamp(folder: Path) -> list[Any]:
    """Changes when files are put there; pictures deep inside are torchvision's to check."""
    inside = sorted((*folder.glob("*"), *folder.glob("*/*"), *folder.glob("*/*/*")))
    return [str(folder.resolve()), [(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in inside]]


def _read(name: str, known: VisionSet, root: Path | None) -> tuple[tuple[str, ...], dict[str, Sequence[Row]]]:
    """Names of the classes, and the rows of each split."""
    if name == "FashionMNIST" and (folder := _idx_folder(root)) is not None:
        rows: dict[str, Sequence[Row]] = {
            split: _Arrays(*fashion_mnist.load_split(folder, split)) for split in known.splits
        }
        return tuple(_kind(name).classes), rows
    with _told(name, root):
        if name.startswith("CIFAR"):
            return _cifar(name, root)
        asked = {split: _ask(name, root, arguments) for split, arguments in known.splits.items()}
    given = next(iter(asked.values()))
    names = known.names or getattr(given, "classes", None) or given.categories
    return tuple(_word(each) for each in names), {split: _Asked(data) for split, data in asked.items()}


def _kind(name: str) -> Any:
    import torchvision.datasets

    return getattr(torchvision.datasets, name)


def _ask(name: str, root: Path | None, arguments: dict[str, Any]) -> Any:
    where = root or _own_root()
    if root is not None:
        return _kind(name)(where, download=False, **arguments)
    try:
        return _kind(name)(where, download=False, **arguments)
    except (RuntimeError, OSError):
        return _kind(name)(where, download=True, **arguments)


def _own_root() -> Path:
    folder = cache.folder() / "torchvision"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _told(name: str, root: Path | None) -> Iterator[None]:
    """What torchvision prints goes to stderr; what it raises becomes a line that says what to do."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except UserError:
        raise
    except Exception as error:  # HTTPError, URLError, RuntimeError, BadZipFile, EOFError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        if root is not None:
            raise UserError(
                f"torchvision:{name}:{root} cannot be read ({reason}): give the folder that torchvision was given as "
                f"root, or leave it out to fetch the data set"
            ) from None
        raise UserError(
            f"torchvision:{name} cannot be fetched ({reason}): fetch it where there is a network, with "
            f"torchvision.datasets.{name}(ROOT, download=True), and give torchvision:{name}:ROOT"
        ) from None


class _Asked(Sequence[Row]):
    """The pictures of a data set of torchvision; those that are files stay as they are."""

    def __init__(self, data: Any):
        self.data = data
        self.files = next((getattr(data, name) for name in _FILES if hasattr(data, name)), None)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Any:
        if self.files is None:
            image, label = self.data[index]
            return Row(image.convert("RGB"), int(label))
        found = self.files[index]
        path, label = found if isinstance(found, tuple) else (found, self.data._labels[index])
        return Row(Path(path), int(label))


class _Arrays(Sequence[Row]):
    """Pictures, grey (N, height, width) or RGB (N, height, width, 3), and their labels, (N,)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        return Row(Image.fromarray(self.images[index]).convert("RGB"), int(self.labels[index]))


def _idx_folder(root: Path | None) -> Path | None:
    """Where the IDX files are: as torchvision has them, by themselves, or where Debian's package puts them."""
    roots = (*fashion_mnist.DEFAULT_ROOTS, _own_root()) if root is None else (root,)
    for folder in (place for root in roots for place in (root / "FashionMNIST" / "raw", root / "raw", root)):
        if fashion_mnist.is_there(folder):
            return folder
    return None


def _cifar(name: str, root: Path | None) -> tuple[tuple[str, ...], dict[str, Sequence[Row]]]:
    """CIFAR10 and CIFAR100 by the facts that torchvision has of them, each file by its md5."""
    from torchvision.datasets.utils import download_and_extract_archive

    kind = _kind(name)
    folder = (root or _own_root()) / kind.base_folder
    if root is None and not (folder / kind.meta["filename"]).is_file():
        download_and_extract_archive(kind.url, str(_own_root()), filename=kind.filename, md5=kind.tgz_md5)
    facts = _load(folder / kind.meta["filename"], kind.meta["md5"])
    rows = {}
    for split, files in (("train", kind.train_list), ("test", kind.test_list)):
        loaded = [_load(folder / file, md5) for file, md5 in files]
        images = np.concatenate([each["data"] for each in loaded]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = np.concatenate([each["labels" if "labels" in each else "fine_labels"] for each in loaded])
        rows[split] = _Arrays(np.ascontiguousarray(images), labels)
    return tuple(_word(each) for each in facts[kind.meta["key"]]), rows


def _load(path: Path, md5: str) -> dict[str, Any]:
    data = path.read_bytes()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
        raise UserError(f"{path} is not the original file (its md5 is another): delete it and fetch it again")
    return plain_pickle.read(data, str(path))


def _word(name: str) -> str:
    """``apple_pie`` → apple pie."""
    return " ".join(str(name).replace("_", " ").split()) or os.fspath(name)
