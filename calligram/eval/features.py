"""What a CLIP makes of a split: each picture embedded once, and asked by every task that reads.

# B pictures, C classes, E embedding
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from calligram.clip.zero_shot import ClipPipeline
from calligram.data.bad import BadSample
from calligram.data.dataset import Record, Shards
from calligram.data.manifest import Manifest
from calligram.errors import UserError
from calligram.eval.pictures import read_picture
from calligram.progress import hidden, track

Words = tuple[tuple[str, ...], dict[str, Any]]


@dataclass(frozen=True)
class Embedded:
    """Unit vectors of pictures of a split, on the model's device, and what is known of them.

    ``captions`` are none at all for a picture that comes with neither words nor a class that has a name.
    """

    image_BE: Tensor
    captions: tuple[tuple[str, ...], ...]
    metas: tuple[dict, ...]

    def __len__(self) -> int:
        return len(self.captions)


@dataclass
class _Split:
    """What has been read of a split so far: words by sample, and the place of each embedded sample among vectors."""

    words: dict[int, Words] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    vector_BE: Tensor | None = None


@dataclass
class _Kept:
    splits: dict[tuple, _Split] = field(default_factory=dict)
    labels: dict[tuple, Tensor] = field(default_factory=dict)


_KEPT: WeakKeyDictionary[ClipPipeline, _Kept] = WeakKeyDictionary()


def forget() -> None:
    """Before other weights are asked: while a model is trained, it is the same object and answers otherwise."""
    _KEPT.clear()


def embed_split(clip: ClipPipeline, data: Path | str, split: str, max_samples: int) -> Embedded:
    """The first pictures of a split, up to ``max_samples``."""
    shards = Shards(data, split)
    return _embedded(clip, shards, range(min(max_samples, len(shards))))


def embed_classed(clip: ClipPipeline, data: Path | str, split: str, max_samples: int) -> tuple[Tensor, Tensor]:
    """Vectors (B, E) and classes (B,), both on the CPU, of the first pictures that have a class; of none, (0, E).

    Raises UserError for a class that the manifest does not name.
    """
    shards = Shards(data, split)
    class_of = dict(_classed(clip, shards, max_samples))
    if not class_of:
        return torch.empty(0, clip.model.config.embed_dim), torch.empty(0, dtype=torch.long)
    found = _embedded(clip, shards, list(class_of))
    return found.image_BE.cpu().float(), torch.tensor(list(class_of.values()))


def first_classed(clip: ClipPipeline, data: Path | str, split: str, max_samples: int) -> dict[int, int]:
    """Sample → class of the first pictures that have one, for who reads the pictures himself."""
    return dict(_classed(clip, Shards(data, split), max_samples))


def read_all_words(clip: ClipPipeline, data: Path | str, split: str, max_samples: int) -> list[Words]:
    """Captions and JSON of the first samples of a split. Their words alone are read, not their pictures."""
    shards = Shards(data, split)
    return [_words(clip, shards, row) for row in range(min(max_samples, len(shards)))]


def embed_rows(clip: ClipPipeline, data: Path | str, split: str, rows: Sequence[int]) -> Embedded:
    """The samples of a split with these numbers, in their order."""
    return _embedded(clip, Shards(data, split), rows)


def embed_classes(clip: ClipPipeline, manifest: Manifest) -> Tensor:
    """One unit vector a class name, (C, E), on the CPU, of the manifest's templates. All processes must ask."""
    kept = _KEPT.setdefault(clip, _Kept()).labels
    key = (tuple(manifest.class_names), tuple(manifest.templates))
    if key not in kept:
        kept[key] = clip.embed_labels(manifest.class_names, manifest.templates).cpu().float()
    return kept[key]


def read_sample(shards: Shards, row: int, words: Words) -> Record:
    """A sample whose words are known already, be they none."""
    shard, place = shards.locate(row)
    found = shards.shard(shard)
    return Record(found.index.key(place), found.tar, found.read_image(place), *words)


def _classed(clip: ClipPipeline, shards: Shards, max_samples: int) -> Iterator[tuple[int, int]]:
    number = len(shards.manifest.class_names)
    found = 0
    for row in range(len(shards)):
        if found == max_samples:
            return
        meta = _words(clip, shards, row)[1]
        if "class" not in meta:
            continue
        if not 0 <= int(meta["class"]) < number:
            raise UserError(
                f"sample {row} of the split {shards.split!r} has class {meta['class']}, the manifest of "
                f"{shards.folder} names {number}: mend class_names there"
            )
        found += 1
        yield row, int(meta["class"])


def _kept_split(clip: ClipPipeline, shards: Shards) -> _Split:
    key = (str(shards.folder), shards.split, shards.manifest.digest(shards.split))
    return _KEPT.setdefault(clip, _Kept()).splits.setdefault(key, _Split())


def _words(clip: ClipPipeline, shards: Shards, row: int) -> Words:
    words = _kept_split(clip, shards).words
    if row not in words:
        words[row] = _read_words(shards, row)
    return words[row]


def _read_words(shards: Shards, row: int) -> Words:
    """Captions, by the templates where there is a class alone, and none where there is neither. Raises BadSample."""
    shard, place = shards.locate(row)
    try:
        return shards.read_words(shard, place)
    except BadSample:
        return shards.shard(shard).read_words(place)  # raises once more where the words are damaged, not absent


def _embedded(clip: ClipPipeline, shards: Shards, rows: Sequence[int]) -> Embedded:
    kept = _kept_split(clip, shards)
    # by every process, so that all see at the same time what is wrong with one
    words = [_words(clip, shards, row) for row in rows]
    missing = [row for row in dict.fromkeys(rows) if row not in kept.places]
    if missing:
        vector_BE = _embed(clip, shards, missing)
        kept.places |= {row: len(kept.places) + number for number, row in enumerate(missing)}
        kept.vector_BE = vector_BE if kept.vector_BE is None else torch.cat([kept.vector_BE, vector_BE])
    if kept.vector_BE is None:
        raise ValueError("no rows to embed")
    places = torch.tensor([kept.places[row] for row in rows], device=kept.vector_BE.device)
    return Embedded(kept.vector_BE[places], tuple(each[0] for each in words), tuple(each[1] for each in words))


def _embed(clip: ClipPipeline, shards: Shards, rows: Sequence[int]) -> Tensor:
    """Vectors of samples whose words have been read; every process of the spread reads a share of the pictures."""
    words = _kept_split(clip, shards).words
    share = clip.spread.share(list(rows))
    vectors, pending = [], []
    with hidden() if clip.spread.rank else nullcontext():
        for row in track(share, f"embed {shards.split} pictures"):
            pending.append(read_picture(read_sample(shards, row, words[row]), clip))
            if len(pending) == clip.batch_size:
                vectors.append(clip.embed_prepared(pending))
                pending = []
        if pending:
            vectors.append(clip.embed_prepared(pending))
    vector_BE = clip.spread.in_order(torch.cat(vectors), len(rows))
    if not vector_BE.isfinite().all():
        raise UserError(f"the model's embeddings of {shards.split} pictures are not finite: its weights are damaged")
    return vector_BE
