"""Pictures that a person names: files, folders, patterns, URLs, lists of these on stdin, shards and tars."""

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calligram.cli.tars import read_member, tar_members
from calligram.data import remote
from calligram.data.decode import BadImage
from calligram.data.manifest import FILE_NAME
from calligram.data.picture_file import SUFFIXES
from calligram.data.place import PIPE, is_url
from calligram.errors import UserError

if TYPE_CHECKING:
    from calligram.data.dataset import Shards

STDIN = "-"
PATIENCE = remote.Patience(timeout=30, tries=3)  # less than for a training: one picture may be missing


@dataclass(frozen=True)
class Item:
    """A picture that can be read. ``facts`` tell where it is found again, and of a shard's sample its class."""

    name: str
    read: Callable[[], bytes] = field(repr=False)  # raises OSError, BadImage or UserError
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Items:
    """Pictures in the order given; ``total`` is None where a list on stdin or a tar must be read to its end first."""

    parts: tuple[Iterable[Item], ...]
    total: int | None

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(self.parts)

    def share(self, rank: int, size: int) -> "Items":
        """Every ``size``-th item from number ``rank`` on: what one of so many processes reads."""
        if size == 1:
            return self
        return Items((self._every(rank, size),), None if self.total is None else len(range(rank, self.total, size)))

    def _every(self, rank: int, size: int) -> Iterator[Item]:
        place = 0  # of a part's first item among all
        for part in self.parts:
            if isinstance(part, Sequence):  # the others' are not even looked at
                yield from (part[i] for i in range((rank - place) % size, len(part), size))
                place += len(part)
                continue
            for item in part:
                if place % size == rank:
                    yield item
                place += 1


def find_items(words: Sequence[str], split: str = "test", lines: Iterable[str] | None = None) -> Items:
    """What the words stand for. A name of nothing is an item, too: reading it tells what is wrong.

    ``lines`` are what ``-`` stands for; stdin's unless given.
    """
    parts: list[Iterable[Item]] = []
    total: int | None = 0
    plain: list[str] = []
    for word in words:
        opened = _stdin(lines) if word == STDIN else _open_collection(word, split)
        if opened is None:
            plain.append(word)
            continue
        parts.append(_files(plain))
        parts.append(opened)
        plain = []
    parts.append(_files(plain))
    for part in parts:
        size = len(part) if isinstance(part, Sequence) else None
        total = None if total is None or size is None else total + size
    return Items(tuple(parts), total)


def data_set_of(words: Sequence[str]) -> Path | None:
    """The folder of a data set, where the words name one and nothing else."""
    return Path(words[0]) if len(words) == 1 and (Path(words[0]) / FILE_NAME).is_file() else None


def find_pictures(words: Sequence[str]) -> list[str]:
    """Paths and URLs, each once, in the order given; names of nothing, too."""
    found = [_named_by(word) for word in words]
    return found[0] if len(found) == 1 else list(dict.fromkeys(chain.from_iterable(found)))


def reopen(facts: dict[str, Any]) -> Item:
    """An item by the facts of another one, in another process."""
    if "shards" in facts:
        from calligram.data.dataset import Shards

        shards = Shards(facts["shards"], facts["split"])
        return Item(facts["picture"], lambda: shards[facts["sample"]].image_bytes, facts)
    if "tar" in facts:
        return Item(facts["picture"], partial(read_member, Path(facts["tar"]), facts["member"]), facts)
    return _file(facts["picture"])


class _Names(Sequence[Item]):
    """Files as items that are made when asked for: a million names are held, and no more."""

    def __init__(self, names: list[str]):
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        return _file(self.names[index])


class _Samples(Sequence[Item]):
    """All pictures of a split; their bytes are read as one goes, since a shard is for one thread at a time."""

    def __init__(self, shards: "Shards"):
        self.shards = shards

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: Any) -> Any:
        return _sample(self.shards, index)


def samples(shards: "Shards") -> Iterable[Item]:
    """The pictures of a split, with the class of each that has one in its facts."""
    return _Samples(shards)


def _sample(shards: "Shards", i: int) -> Item:
    from calligram.data.bad import BadSample

    number, row = shards.locate(i)
    shard = shards.shard(number)
    name = f"{shards.paths[number]}:{shard.index.key(row)}"
    facts = {"picture": name, "shards": str(shards.folder), "split": shards.split, "sample": i}
    try:
        data = shard.read_image(row)
        _, meta = shard.read_words(row)
    except BadSample as error:
        return Item(name, partial(_raise, str(error)), facts)
    return Item(name, lambda: data, facts | {"class": meta["class"]} if "class" in meta else facts)


def _stdin(lines: Iterable[str] | None) -> Iterable[Item]:
    return (_file(line.rstrip("\n")) for line in (sys.stdin if lines is None else lines) if line.strip())


def _open_collection(word: str, split: str) -> Iterable[Item] | None:
    """What holds several pictures and is no folder of files."""
    path = Path(word)
    if (path / FILE_NAME).is_file():
        from calligram.data.dataset import Shards

        return samples(Shards(path, split))
    tars = sorted(path.glob("*.tar")) if path.is_dir() else [path] if path.suffix == ".tar" and path.is_file() else []
    return _tar_items(tars) if tars else None


def _tar_items(tars: list[Path]) -> Iterator[Item]:
    for tar in tars:
        for name, data in tar_members(tar):
            facts = {"picture": f"{tar}:{name}", "tar": str(tar), "member": name}
            yield Item(facts["picture"], partial(bytes, data), facts)


def _files(words: list[str]) -> Sequence[Item]:
    return _Names(find_pictures(words) if words else [])


def _file(name: str) -> Item:
    if not is_url(name):
        return Item(name, Path(name).read_bytes, {"picture": name})
    if name.startswith(PIPE):  # a list of pictures may be a stranger's
        return Item(name, partial(_raise, "commands are not run for pictures: give a path or a URL"))
    return Item(name, partial(remote.read, name, PATIENCE), {"picture": name})


def _raise(message: str) -> bytes:
    raise BadImage(message)


def _named_by(word: str) -> list[str]:
    path = Path(word)
    if is_url(word):
        return [word]
    if path.is_dir():
        inside = sorted(_walk(word), key=_by_parts)
        if not inside:
            raise UserError(f"folder {word} has no pictures ({', '.join(sorted(SUFFIXES))})")
        return inside
    if path.exists() or not glob.has_magic(word):
        return [str(path)]
    matching = sorted(filter(os.path.isfile, glob.iglob(word, recursive=True)), key=_by_parts)
    if not matching:
        raise UserError(f"no file matches {word!r}")
    return matching


def _walk(folder: str) -> Iterator[str]:
    for inner, _, names in os.walk(os.path.normpath(folder)):
        for name in names:
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                yield os.path.normpath(os.path.join(inner, name))


def _by_parts(path: str) -> str:
    """A folder's files before those of a folder whose name only begins alike."""
    return path.replace(os.sep, "\0")
