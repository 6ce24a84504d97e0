"""Image tokens beside the shards, so that training a DALL-E decodes no picture.

One ``NAME.tar.tokens-FINGERPRINT.npy`` a shard, row by row with its index; the fingerprint is the image
tokenizer's, so that tokens of another tokenizer are never taken for these.

# N tokens of a picture
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from calligram.data.dataset import Shards
from calligram.errors import UserError
from calligram.pictures import square, to_tensor
from calligram.progress import Progress

PICTURES_AT_A_TIME = 250
MAX_VOCABULARY = 2**16  # what two bytes a token can tell apart


def write_tokens(shards: Shards, fingerprint: str, image_size: int, encode: Callable[[Tensor], Tensor]) -> None:
    """Encode every picture of a split whose tokens are not there yet; a shard's file appears when it is whole."""
    missing = [(path, numbers) for path, numbers in _filled(shards) if not side_car(path, fingerprint).is_file()]
    total = sum(len(numbers) for _, numbers in missing)
    with Progress("tokenize pictures", total, enabled=bool(missing)) as progress:
        for path, numbers in missing:
            tokens = []
            for start in range(0, len(numbers), PICTURES_AT_A_TIME):
                chunk = numbers[start : start + PICTURES_AT_A_TIME]
                images = torch.stack([to_tensor(square(shards[i].image(), image_size)) for i in chunk])
                tokens.append(_to_uint16(encode(images)))
                progress.advance(len(chunk))
            _save(side_car(path, fingerprint), np.concatenate(tokens))


def read_tokens(shards: Shards, fingerprint: str) -> np.ndarray:
    """Tokens of a whole split, uint16 (samples, N)."""
    found = []
    for path, numbers in _filled(shards):
        file = side_car(path, fingerprint)
        if not file.is_file():
            raise UserError(f"{path} has no tokens of this tokenizer: run `calligram tokenize {shards.folder}` first")
        try:
            tokens = np.load(file, allow_pickle=False)
        except (ValueError, EOFError):
            raise UserError(f"{file} cannot be read: delete it, and tokenize again") from None
        if len(tokens) != len(numbers):
            raise UserError(f"{file} has {len(tokens)} rows for {len(numbers)} samples: delete it, and tokenize again")
        found.append(tokens)
    return np.concatenate(found)


def side_car(tar: Path, fingerprint: str) -> Path:
    return tar.with_name(f"{tar.name}.tokens-{fingerprint}.npy")


def _filled(shards: Shards) -> list[tuple[Path, range]]:
    return [(path, numbers) for path, numbers in zip(shards.paths, shards.ranges, strict=True) if numbers]


def _to_uint16(ids_BN: Tensor) -> np.ndarray:
    if int(ids_BN.max()) >= MAX_VOCABULARY:
        raise UserError(f"image token {int(ids_BN.max())} does not fit: use a tokenizer of at most {MAX_VOCABULARY}")
    return ids_BN.cpu().numpy().astype(np.uint16)


def _save(path: Path, tokens: np.ndarray) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.npy")
    np.save(aside, tokens)
    os.replace(aside, path)
