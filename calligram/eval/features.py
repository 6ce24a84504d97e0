"""What a CLIP makes of a split: embedded once, and asked by every task that reads.

# B pictures, T captions, E embedding
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from calligram.clip.zero_shot import ClipPipeline
from calligram.data.dataset import Shards
from calligram.eval.pictures import read_picture
from calligram.progress import track


@dataclass(frozen=True)
class Embedded:
    """Unit vectors of the first pictures of a split, and what is known of them."""

    image_BE: Tensor
    captions: tuple[tuple[str, ...], ...]
    metas: tuple[dict, ...]

    def __len__(self) -> int:
        return len(self.captions)


_KEPT: WeakKeyDictionary[ClipPipeline, dict[tuple, Embedded]] = WeakKeyDictionary()


def embed_split(clip: ClipPipeline, data: Path | str, split: str, max_samples: int) -> Embedded:
    """Embeds each picture once for all tasks; of two limits the larger one serves both."""
    kept = _KEPT.setdefault(clip, {})
    shards = Shards(data, split)
    number = min(max_samples, len(shards))
    key = (str(data), split, shards.manifest.digest(split))
    if key not in kept or len(kept[key]) < number:
        kept[key] = _embed(clip, shards, number)
    found = kept[key]
    return Embedded(found.image_BE[:number], found.captions[:number], found.metas[:number])


def forget() -> None:
    """Before other weights are asked: while a model is trained, it is the same object and answers otherwise."""
    _KEPT.clear()


def _embed(clip: ClipPipeline, shards: Shards, number: int) -> Embedded:
    vectors, pending = [], []
    for i in track(clip.spread.share(list(range(number))), f"embed {shards.split} pictures"):
        pending.append(read_picture(shards[i], clip))
        if len(pending) == clip.batch_size:
            vectors.append(clip.embed_prepared(pending))
            pending = []
    if pending:
        vectors.append(clip.embed_prepared(pending))
    words = [shards.read_words(*shards.locate(i)) for i in range(number)]
    captions, metas = tuple(captions for captions, _ in words), tuple(meta for _, meta in words)
    return Embedded(clip.spread.in_order(torch.cat(vectors), number), captions, metas)


def classes(metas: Sequence[dict]) -> tuple[Tensor, Tensor]:
    """Rows that have a class, and their classes."""
    rows = [row for row, meta in enumerate(metas) if "class" in meta]
    return torch.tensor(rows, dtype=torch.long), torch.tensor([int(metas[row]["class"]) for row in rows]).long()
