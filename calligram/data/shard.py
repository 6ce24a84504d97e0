"""One tar, read a sample at a time by its index."""

import json
import os
import zlib
from pathlib import Path
from typing import Any

from calligram.data import index, scan
from calligram.data.bad import CHECKSUM, EMPTY, TEXT, BadSample
from calligram.data.decode import EXTENSIONS
from calligram.data.index import Index
from calligram.errors import UserError


def read_index(tar: Path) -> Index:
    """The index of a tar: from its side-car, or by a scan where there is none. Refuses one of another tar."""
    path = index.side_car(tar)
    if not path.is_file():
        return scan.scan(tar).index()
    found = index.load(path)
    try:
        size = tar.stat().st_size
    except FileNotFoundError:
        raise UserError(f"shard {tar} is missing: fetch or make the data set again") from None
    if size != found.num_bytes:
        raise UserError(
            f"{tar} has {size:,} bytes, its index was made of {found.num_bytes:,}: "
            f"fetch it again, or run `calligram data index` on its folder"
        )
    return found


class Shard:
    """The samples of one tar by row. The file stays open, even across a fork: ``pread`` has no cursor to share."""

    def __init__(self, tar: Path):
        self.tar = tar
        self.index = read_index(tar)
        self._latest: tuple[int, index.IndexedSample] | None = None
        try:
            self.file = os.open(tar, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{tar} cannot be opened: {error.strerror}") from None

    def __len__(self) -> int:
        return len(self.index)

    def read_image(self, row: int) -> bytes:
        """The encoded picture of a sample."""
        sample = self._sample(row)
        extension = next((extension for extension in EXTENSIONS if extension in sample.members), None)
        if extension is None:
            raise UserError(f"{self.tar} holds texts and no pictures: only a DALL-E reads it, with --loss.tokens text")
        return self._read(sample, extension)

    def read_words(self, row: int) -> tuple[tuple[str, ...], dict[str, Any]]:
        """The captions of a sample, none where it has a class alone, and what its JSON says."""
        sample = self._sample(row)
        try:
            meta = json.loads(self._read(sample, "json")) if "json" in sample.members else {}
            if "cls" in sample.members:
                meta.setdefault("class", int(self._read(sample, "cls")))
            captions = meta.get("captions") or meta.get("caption") or []
            if "txt" in sample.members and not meta.get("captions"):
                captions = self._read(sample, "txt").decode()
            captions = (captions,) if isinstance(captions, str) else tuple(captions)
            if not all(caption.strip() for caption in captions):
                raise BadSample(EMPTY, f"sample {sample.key} of {self.tar} has an empty caption")
        except BadSample:
            raise
        except (ValueError, AttributeError, TypeError, RecursionError) as error:  # ValueError: bad UTF-8, JSON, int
            raise BadSample(TEXT, f"sample {sample.key} of {self.tar} has unreadable text: {error}") from None
        return captions, meta

    def _sample(self, row: int) -> index.IndexedSample:
        if self._latest is None or self._latest[0] != row:  # words and picture of a sample are read one after the other
            self._latest = row, self.index[row]
        return self._latest[1]

    def _read(self, sample: index.IndexedSample, extension: str) -> bytes:
        member = sample.members[extension]
        data = os.pread(self.file, member.size, member.offset)
        # decoders pass over most damage in silence
        if len(data) != member.size or zlib.crc32(data) != member.crc32:
            raise BadSample(
                CHECKSUM,
                f"{self.tar} is damaged, or its index is stale: .{extension} of sample {sample.key} does not have the "
                f"checksum of the index; run `calligram data verify` on its folder",
            )
        return data

    def __del__(self) -> None:
        if "file" in self.__dict__:
            os.close(self.file)
