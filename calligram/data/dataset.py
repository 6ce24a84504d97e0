"""Samples of indexed shards, read one ``pread`` at a time."""

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from calligram.data import index
from calligram.data.decode import EXTENSIONS, BadImage, decode_image
from calligram.data.manifest import Manifest
from calligram.errors import UserError

MAX_OPEN_FILES = 256  # a process may often have no more than 1024


@dataclass(frozen=True)
class Record:
    """What a shard says of one sample, the picture still encoded."""

    key: str
    image_bytes: bytes
    captions: tuple[str, ...]
    meta: dict[str, Any]
    negatives: tuple[str, ...] = ()  # false captions, one for each true one, where there are any

    def image(self) -> Image.Image:
        try:
            return decode_image(self.image_bytes)
        except BadImage as error:
            raise UserError(f"sample {self.key}: {error}; run `calligram data verify` on the data set") from None


class Shards:
    """Random access to the samples of one split, by their number from 0."""

    def __init__(self, folder: Path, split: str):
        self.folder, self.split = folder, split
        self.manifest = Manifest.load(folder)
        self.paths = [folder / shard.file for shard in self.manifest.shards(split)]
        self.samples: list[tuple[int, index.IndexedSample]] = []
        self.ranges: list[range] = []  # numbers of the samples that each shard holds
        self._files: dict[int, int] = {}
        for number, path in enumerate(self.paths):
            start = len(self.samples)
            self.samples += [(number, sample) for sample in index.read(path)]
            self.ranges.append(range(start, len(self.samples)))
        if not self.samples:
            raise UserError(f"split {split!r} of {folder} has no samples")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> Record:
        captions, meta = self._read_text(i)
        return Record(self.samples[i][1].key, self.read_image(i), captions, meta, tuple(meta.get("negatives") or ()))

    def read_captions(self, i: int) -> tuple[str, ...]:
        """The captions alone, for whoever has no need of the picture."""
        return self._read_text(i)[0]

    def read_image(self, i: int) -> bytes:
        shard, sample = self.samples[i]
        extension = next((e for e in EXTENSIONS if e in sample.members), None)
        if extension is None:
            raise UserError(f"sample {sample.key} of {self.paths[shard]} has no picture ({', '.join(EXTENSIONS)})")
        return self._read(shard, sample, extension)

    def _read_text(self, i: int) -> tuple[tuple[str, ...], dict[str, Any]]:
        shard, sample = self.samples[i]
        try:
            meta = json.loads(self._read(shard, sample, "json")) if "json" in sample.members else {}
            return tuple(meta.get("captions") or [self._read(shard, sample, "txt").decode()]), meta
        except (UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
            raise UserError(f"sample {sample.key} of {self.paths[shard]} has unreadable text: {error}") from None

    def _read(self, shard: int, sample: index.IndexedSample, extension: str) -> bytes:
        if extension not in sample.members:
            raise UserError(f"sample {sample.key} of {self.paths[shard]} has no .{extension}")
        member = sample.members[extension]
        data = os.pread(self._file(shard), member.size, member.offset)
        # decoders pass over most damage in silence
        if len(data) != member.size or (member.crc32 is not None and zlib.crc32(data) != member.crc32):
            raise UserError(
                f"{self.paths[shard]} is damaged, or its index is stale: .{extension} of sample {sample.key} "
                f"does not have the checksum of the index; run `calligram data verify {self.folder}`"
            )
        return data

    def _file(self, shard: int) -> int:
        # a descriptor may be shared with forked workers, since pread moves no common position
        if shard not in self._files:
            if len(self._files) >= MAX_OPEN_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            self._files[shard] = os.open(self.paths[shard], os.O_RDONLY)
        return self._files[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}

    def __del__(self) -> None:
        for file in self.__dict__.get("_files", {}).values():
            os.close(file)


def choose_caption(captions: tuple[str, ...], choice: str, rng: np.random.Generator) -> int:
    """The number of the caption to read: the first, or any of them."""
    return 0 if choice == "first" else int(rng.integers(len(captions)))
