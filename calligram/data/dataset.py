"""Samples of indexed shards, read one ``pread`` at a time."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from calligram.data import cache, index, remote
from calligram.data.bad import PICTURE, PIXELS, TEXT, BadSample
from calligram.data.decode import BadImage, decode_image, decode_square
from calligram.data.draws import Draws
from calligram.data.manifest import Manifest
from calligram.data.manifest import Shard as Entry
from calligram.data.place import join, place, scheme
from calligram.data.scan import scan
from calligram.data.shard import Shard
from calligram.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Picture = TypeVar("Picture")
MAX_OPEN = 256  # shards at once: a process may often have no more than 1,024 files


@dataclass(frozen=True)
class Record:
    """What a shard says of one sample, the picture still encoded."""

    key: str
    tar: Path
    image_bytes: bytes
    captions: tuple[str, ...]
    meta: dict[str, Any]
    negatives: tuple[str, ...] = ()  # false captions, one for each true one, where there are any

    def image(self) -> Image.Image:
        """The whole picture."""
        return self.decode(decode_image)

    def square(self, size: int) -> "Tensor":
        """The picture as a model reads it, uint8 (3, size, size); faster than a detour over the whole."""
        return self.decode(lambda data: decode_square(data, size))

    def decode(self, decoder: Callable[[bytes], Picture]) -> Picture:
        """What a decoder makes of the bytes. Raises BadSample where it raises BadImage."""
        return _decode(decoder, self.image_bytes, self.key, self.tar)


class Shards:
    """Random access to the samples of one split: by shard and row, or by their number from 0.

    Indexes are read when a shard is first needed, and the least used are forgotten, so that a set of any size
    opens at once and takes no more memory than ``MAX_OPEN`` of its shards. A shard that lies elsewhere is fetched
    when it is first needed; its path is that of the copy, which is there from then on.
    """

    def __init__(self, folder: Path | str, split: str):
        self.folder, self.split = place(folder), split
        self.manifest = Manifest.load(folder)
        entries = self.manifest.shards(split)
        self.places = [join(folder, entry.file) for entry in entries]
        self.paths = [local_path(where, entry) for where, entry in zip(self.places, entries, strict=True)]
        self.counts = np.array([entry.num_samples for entry in entries], np.int64)
        self._ends = self.counts.cumsum()
        self._open: OrderedDict[int, Shard] = OrderedDict()
        if not len(self):
            raise UserError(f"split {split!r} of {folder} has no samples")
        _check_places(self.places, [entry.num_bytes for entry in entries], folder)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, i: int) -> Record:
        return self.record(*self.locate(i))

    def locate(self, i: int) -> tuple[int, int]:
        """Shard and row of sample ``i``."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        shard = int(np.searchsorted(self._ends, i, side="right"))
        return shard, i - int(self._ends[shard] - self.counts[shard])

    def record(self, shard: int, row: int) -> Record:
        found = self.shard(shard)
        captions, meta = self.read_words(shard, row)
        negatives = tuple(meta.get("negatives") or ())
        return Record(found.index.key(row), found.tar, found.read_image(row), captions, meta, negatives)

    def read_square(self, shard: int, row: int, size: int) -> "Tensor":
        """The picture alone, as a model reads it: uint8 (3, size, size)."""
        found = self.shard(shard)
        data = found.read_image(row)
        return _decode(lambda data: decode_square(data, size), data, found.index.key(row), found.tar)

    def read_captions(self, i: int) -> tuple[str, ...]:
        """The captions alone, for whoever has no need of the picture."""
        return self.read_words(*self.locate(i))[0]

    def read_words(self, shard: int, row: int) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Captions and the rest of the JSON; what has a class alone is captioned by the set's templates."""
        captions, meta = self.shard(shard).read_words(row)
        if self.manifest.txt == "a caption a line" and len(captions) == 1:
            captions = tuple(line for line in captions[0].splitlines() if line.strip())
        if not captions:
            names, number = self.manifest.class_names, meta.get("class")
            if not isinstance(number, int) or not 0 <= number < len(names):
                key, tar = self.shard(shard).index.key(row), self.paths[shard]
                raise BadSample(TEXT, f"sample {key} of {tar} has no caption and no class with a name")
            captions = tuple(template.replace("{}", names[number]) for template in self.manifest.templates)
        return captions, meta

    def shard(self, number: int) -> Shard:
        """An open shard. Raises UserError where it does not have as many samples as the manifest says."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        found = self._open_shard(number)
        if len(found) != self.counts[number]:
            raise UserError(
                f"{found.tar} has {len(found)} samples, the manifest says {self.counts[number]}: "
                f"run `calligram data verify {self.folder}`"
            )
        while len(self._open) >= MAX_OPEN:
            self._open.popitem(last=False)
        self._open[number] = found
        return found

    def _open_shard(self, number: int) -> Shard:
        if isinstance(self.places[number], Path):
            return Shard(self.paths[number])
        while True:
            tar = self.fetch(number)
            try:
                found = Shard(tar)
            except UserError:
                if tar.exists():
                    raise
                continue  # another process needed the room in that very moment
            if cache.hold(found.file, tar):
                return found

    def fetch(self, number: int) -> Path:
        """A shard's tar on this machine; downloaded, and indexed, where it lies elsewhere."""
        where = self.places[number]
        if isinstance(where, Path):
            return where
        entry = self.manifest.shards(self.split)[number]
        tar = remote.fetch(where, entry.num_bytes, entry.sha256)
        if not index.side_car(tar).is_file():
            index.save(scan(tar).index(), index.side_car(tar))
        return tar

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}


def local_path(where: Path | str, entry: Entry) -> Path:
    """The path of a shard, or of the copy that is made of it."""
    return where if isinstance(where, Path) else cache.cached(where, entry.sha256)


def _check_places(places: list[Path | str], sizes: list[int], folder: Path | str) -> None:
    """Before a training begins, not days into it: every shard is there, as long as it was.

    Of those elsewhere only whether such URLs can be read at all: a million questions would take hours.
    """
    for url in {scheme(url): url for url in places if isinstance(url, str)}.values():
        remote.check(url)
        cache.limit()
    remedy = f"fetch or make it again; `calligram data verify {folder}` tells more"
    for path, size in zip(places, sizes, strict=True):
        if isinstance(path, str):
            continue
        try:
            found = path.stat().st_size
        except FileNotFoundError:
            raise UserError(f"shard {path} is missing: {remedy}") from None
        except OSError as error:
            raise UserError(f"shard {path} cannot be read ({error.strerror}): {remedy}") from None
        if found != size:
            raise UserError(f"shard {path} has {found:,} bytes, the manifest says {size:,}: {remedy}")


def _decode(decoder: Callable[[bytes], Picture], data: bytes, key: str, tar: Path) -> Picture:
    try:
        return decoder(data)
    except BadImage as error:
        reason = PIXELS if error.too_large else PICTURE
        message = f"sample {key} of {tar}: {error}; run `calligram data verify` on the data set"
        raise BadSample(reason, message) from None


def choose_caption(captions: tuple[str, ...], choice: str, draws: Draws) -> int:
    """The number of the caption to read: the first, or any of them."""
    return 0 if choice == "first" else draws.integers(0, len(captions))
