"""Samples of indexed shards, read one ``pread`` at a time.

# N image tokens of a picture
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from calligram.data import index
from calligram.data.decode import EXTENSIONS, BadImage, decode_image
from calligram.data.manifest import Manifest
from calligram.errors import UserError


@dataclass(frozen=True)
class Record:
    """What a shard says of one sample, the picture still encoded."""

    key: str
    image_bytes: bytes
    captions: tuple[str, ...]
    meta: dict[str, Any]

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
        self.samples = [(number, s) for number, path in enumerate(self.paths) for s in index.read(path)]
        if not self.samples:
            raise UserError(f"split {split!r} of {folder} has no samples")
        self._files: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> Record:
        shard, sample = self.samples[i]
        meta = json.loads(self._read(shard, sample, "json")) if "json" in sample.members else {}
        captions = meta.get("captions") or [self._read(shard, sample, "txt").decode()]
        return Record(sample.key, self.read_image(i), tuple(captions), meta)

    def read_image(self, i: int) -> bytes:
        shard, sample = self.samples[i]
        extension = next((e for e in EXTENSIONS if e in sample.members), None)
        if extension is None:
            raise UserError(f"sample {sample.key} of {self.paths[shard]} has no picture ({', '.join(EXTENSIONS)})")
        return self._read(shard, sample, extension)

    def _read(self, shard: int, sample: index.IndexedSample, extension: str) -> bytes:
        if extension not in sample.members:
            raise UserError(f"sample {sample.key} of {self.paths[shard]} has no .{extension}")
        member = sample.members[extension]
        return os.pread(self._file(shard), member.size, member.offset)

    def _file(self, shard: int) -> int:
        # by process: a worker must not share the descriptor of its parent after a fork
        key = (os.getpid(), shard)
        if key not in self._files:
            self._files[key] = os.open(self.paths[shard], os.O_RDONLY)
        return self._files[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}


def caption_of(record: Record, choice: str, rng: np.random.Generator) -> str:
    """The first caption, or any of them."""
    return record.captions[0 if choice == "first" else int(rng.integers(len(record.captions)))]
