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
from calligram.data.decode import decode_image
from calligram.data.transforms import eval_transform
from calligram.errors import UserError
from calligram.progress import Progress


def write_tokens(shards: Shards, fingerprint: str, image_size: int, encode: Callable[[Tensor], Tensor]) -> None:
    """Encode every picture of a split whose tokens are not there yet; a shard's file appears when it is whole."""
    missing = [n for n, path in enumerate(shards.paths) if not side_car(path, fingerprint).is_file()]
    rows = [[i for i, (shard, _) in enumerate(shards.samples) if shard == n] for n in missing]
    with Progress("tokenize pictures", sum(map(len, rows)), enabled=bool(missing)) as progress:
        for number, members in zip(missing, rows, strict=True):
            tokens = []
            for start in range(0, len(members), 250):
                chunk = members[start : start + 250]
                images = [eval_transform(decode_image(shards.read_image(i)), image_size) for i in chunk]
                tokens.append(encode(torch.stack(images)).cpu().numpy().astype(np.uint16))
                progress.advance(len(chunk))
            path = side_car(shards.paths[number], fingerprint)
            aside = path.with_name(f".{path.name}.{os.getpid()}.npy")
            np.save(aside, np.concatenate(tokens))
            os.replace(aside, path)


def read_tokens(shards: Shards, fingerprint: str) -> np.ndarray:
    """Tokens of a whole split, uint16 (samples, N)."""
    found = []
    for number, path in enumerate(shards.paths):
        file = side_car(path, fingerprint)
        if not file.is_file():
            raise UserError(f"{path} has no tokens of this tokenizer: run `calligram tokenize {shards.folder}` first")
        tokens = np.load(file, allow_pickle=False)
        expected = sum(shard == number for shard, _ in shards.samples)
        if len(tokens) != expected:
            raise UserError(f"{file} has {len(tokens)} rows for {expected} samples: delete it, and tokenize again")
        found.append(tokens)
    return np.concatenate(found)


def side_car(tar: Path, fingerprint: str) -> Path:
    return tar.with_name(f"{tar.name}.tokens-{fingerprint}.npy")
