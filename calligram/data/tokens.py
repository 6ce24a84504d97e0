"""Image tokens beside the shards, so that training a DALL-E decodes no picture.

One ``NAME.tar.tokens-PREPARATION-KEY-SHARD.npy`` a shard, row by row with its index. KEY is the image tokenizer's
fingerprint, SHARD begins the tar's sha256: tokens of another tokenizer, of pictures cut in another way or of other
pictures are never taken for these. A picture that cannot be decoded has a row of ``BAD``.

# N tokens of a picture
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from calligram.data.bad import PICTURE, BadSample
from calligram.data.dataset import MAX_OPEN, Shards
from calligram.errors import UserError
from calligram.progress import Progress

log = logging.getLogger(__name__)
PICTURES_AT_A_TIME = 250
MAX_VOCABULARY = 2**16 - 1  # what two bytes a token can tell apart, and one more:
BAD = 2**16 - 1
PREPARATION = "square2"  # what was done to the picture before: resize of the shorter side, centre crop


class Tokens:
    """The image tokens of a split, by shard and row. Raises UserError where some are missing or do not fit."""

    def __init__(self, shards: Shards, key: str):
        self.shards, self.key = shards, key
        self._open: OrderedDict[int, np.ndarray] = OrderedDict()
        for number in _filled(shards):
            if not side_car(shards, number, key).is_file():
                raise UserError(
                    f"{shards.paths[number]} has no tokens of this tokenizer: "
                    f"run `calligram tokenize {shards.folder}` first"
                )

    def read(self, shard: int, row: int) -> np.ndarray:
        """uint16 (N,). Raises BadSample where the picture could not be decoded."""
        tokens = self.rows(shard)[row]
        if tokens[0] == BAD:
            key, tar = self.shards.shard(shard).index.key(row), self.shards.paths[shard]
            raise BadSample(PICTURE, f"sample {key} of {tar} has no tokens, since its picture could not be decoded")
        return tokens

    def rows(self, shard: int) -> np.ndarray:
        """Tokens of a whole shard, mapped into memory: uint16 (samples, N)."""
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        file = side_car(self.shards, shard, self.key)
        try:
            tokens = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError):
            raise UserError(f"{file} cannot be read: delete it, and tokenize again") from None
        count = self.shards.counts[shard]
        if tokens.ndim != 2 or len(tokens) != count or tokens.dtype != np.uint16:
            raise UserError(f"{file} has {len(tokens)} rows for {count} samples: delete it, and tokenize again")
        while len(self._open) >= MAX_OPEN:
            self._open.popitem(last=False)
        self._open[shard] = tokens
        return tokens

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": OrderedDict()}


def write_tokens(
    shards: Shards,
    key: str,
    image_size: int,
    encode: Callable[[Tensor], Tensor],
    rank: int = 0,
    world_size: int = 1,
) -> None:
    """Encode the pictures of the shards that have no tokens yet; a shard's file appears when it is whole.

    Of several processes each takes every ``world_size``-th of them.
    """
    mine = _filled(shards)[rank::world_size]  # first, since others may be done with theirs by the time this one looks
    missing = [number for number in mine if not side_car(shards, number, key).is_file()]
    total = int(shards.counts[missing].sum())
    with Progress("tokenize pictures", total, enabled=bool(missing) and rank == 0) as progress:
        for number in missing:
            tokens = []
            for start in range(0, int(shards.counts[number]), PICTURES_AT_A_TIME):
                rows = range(start, min(int(shards.counts[number]), start + PICTURES_AT_A_TIME))
                tokens.append(_encode(shards, number, rows, image_size, encode))
                progress.advance(len(rows))
            _save(side_car(shards, number, key), np.concatenate(tokens))


def _encode(
    shards: Shards, number: int, rows: range, image_size: int, encode: Callable[[Tensor], Tensor]
) -> np.ndarray:
    images, good = torch.zeros(len(rows), 3, image_size, image_size, dtype=torch.uint8), np.ones(len(rows), bool)
    for place, row in enumerate(rows):
        try:
            images[place] = shards.read_square(number, row, image_size)
        except BadSample as error:
            log.warning(f"no tokens: {error}")
            good[place] = False
    tokens = _to_uint16(encode(images))
    tokens[~good] = BAD
    return tokens


def side_car(shards: Shards, number: int, key: str) -> Path:
    """The file with the tokens of a shard."""
    tar, entry = shards.paths[number], shards.manifest.shards(shards.split)[number]
    return tar.with_name(f"{tar.name}.tokens-{PREPARATION}-{key}-{entry.sha256[:8]}.npy")


def _filled(shards: Shards) -> list[int]:
    return np.flatnonzero(shards.counts).tolist()


def _to_uint16(ids_BN: Tensor) -> np.ndarray:
    if int(ids_BN.max()) >= MAX_VOCABULARY:
        raise UserError(f"image token {int(ids_BN.max())} does not fit: use a tokenizer of at most {MAX_VOCABULARY}")
    return ids_BN.cpu().numpy().astype(np.uint16)


def _save(path: Path, tokens: np.ndarray) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.npy")
    np.save(aside, tokens)
    os.replace(aside, path)
