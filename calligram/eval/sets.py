"""Features of sets of pictures in a space: of what was drawn, of real pictures, each embedded once for all tasks.

# B pictures, D features, S pixels a side
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from calligram.dalle.draw import DallePipeline
from calligram.data.dataset import Shards
from calligram.eval import drawings
from calligram.eval.drawings import Drawings, draw_split, spread
from calligram.eval.space import Space
from calligram.eval.task import EvalConfig
from calligram.progress import Progress

BATCH = 100


@dataclass(frozen=True, eq=False)
class Pictures:
    """Samples of a split and their features (B, D)."""

    numbers: tuple[int, ...]
    feature_BD: Tensor

    def __len__(self) -> int:
        return len(self.numbers)


_REAL: WeakKeyDictionary[Space, dict[tuple, Pictures]] = WeakKeyDictionary()
_DRAWN: WeakKeyDictionary[Drawings, WeakKeyDictionary[Space, Tensor]] = WeakKeyDictionary()


def real(space: Space, data: Path | str, split: str, size: int, number: int) -> Pictures:
    """``number`` pictures from all over a split, at the size of those that they are compared with."""
    shards = Shards(data, split)
    numbers = tuple(spread(len(shards), number))
    key = (str(data), split, shards.manifest.digest(split), size, len(numbers))
    kept = _REAL.setdefault(space, {})
    if key not in kept:
        features = [space.embed(images) for images in read(shards, numbers, size, f"embed {split} pictures")]
        kept[key] = Pictures(numbers, torch.cat(features))
    return kept[key]


def drawn(space: Space, dalle: DallePipeline, data: Path | str, config: EvalConfig) -> Tensor:
    """Features (B, D) of what :func:`calligram.eval.drawings.draw_split` gives."""
    found = draw_split(dalle, data, config)
    kept = _DRAWN.setdefault(found, WeakKeyDictionary())
    if space not in kept:
        kept[space] = torch.cat([space.embed(part) for part in found.images.split(BATCH)])
    return kept[space]


def drawn_and_real(space: Space, dalle: DallePipeline, data: Path | str, config: EvalConfig) -> tuple[Tensor, Tensor]:
    """The two sets that are compared, (N, D) and (M, D): what was drawn for a split, and its real pictures."""
    size = dalle.image_tokenizer.config.image_size
    theirs = real(space, data, config.split, size, config.num_reference)
    return drawn(space, dalle, data, config), theirs.feature_BD


def read(shards: Shards, numbers: Sequence[int], size: int, title: str) -> Iterator[Tensor]:
    """Pictures as a model of this size reads them, uint8 (B, 3, S, S), a batch at a time."""
    with Progress(title, len(numbers)) as progress:
        for start in range(0, len(numbers), BATCH):
            part = numbers[start : start + BATCH]
            yield torch.stack([shards.read_square(*shards.locate(i), size) for i in part])
            progress.advance(len(part))


def forget() -> None:
    """Before other weights are asked; drawings are forgotten, too."""
    drawings.forget()
    _REAL.clear()
    _DRAWN.clear()
