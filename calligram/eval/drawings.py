"""What a DALL-E draws for captions of a split: each once, for all tasks that compare sets of pictures.

# B captions, S pixels a side
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from calligram.dalle.draw import DallePipeline
from calligram.dalle.sampling import sample
from calligram.data.dataset import Shards
from calligram.eval.task import EvalConfig
from calligram.progress import Progress


@dataclass(frozen=True, eq=False)
class Drawings:
    """Pictures (B, 3, S, S), uint8 on the CPU, the captions that they were drawn for and the samples these are of."""

    images: Tensor
    captions: tuple[str, ...]
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.captions)


_KEPT: WeakKeyDictionary[DallePipeline, dict[tuple, Drawings]] = WeakKeyDictionary()


def draw_split(dalle: DallePipeline, data: Path | str, config: EvalConfig) -> Drawings:
    """One picture each of ``num_drawings`` captions of samples all over the split, their phrasings in turn."""
    shards = Shards(data, config.split)
    digest = shards.manifest.digest(config.split)
    key = (str(data), config.split, digest, config.num_drawings, config.seed)
    kept = _KEPT.setdefault(dalle, {})
    if key not in kept:
        numbers = spread(len(shards), config.num_drawings)
        captions = [_phrasing(shards.read_captions(i), turn) for turn, i in enumerate(numbers)]
        first = config.seed * config.num_drawings  # no two runs share a drawing
        images = draw(dalle, captions, range(first, first + len(captions)), f"draw {config.split} captions")
        kept[key] = Drawings(images, tuple(captions), tuple(numbers))
    return kept[key]


def forget() -> None:
    """Before other weights are asked: while a model is trained, it is the same object and draws otherwise."""
    _KEPT.clear()


def draw(dalle: DallePipeline, captions: Sequence[str], seeds: Sequence[int], title: str) -> Tensor:
    """One picture for each caption and seed, uint8 (B, 3, S, S) on the CPU. A long caption is cut, as in training."""
    text_BT = dalle.text_tokenizer(list(captions)).to(dalle.device)
    parts = []
    with Progress(title, len(captions)) as progress:
        for start in range(0, len(captions), dalle.batch_size):
            rows = slice(start, start + dalle.batch_size)
            parts.append(dalle.decode(sample(dalle.model, text_BT[rows], seeds[rows], dalle.sampling)).cpu())
            progress.advance(len(parts[-1]))
    return torch.cat(parts)


def spread(count: int, number: int) -> list[int]:
    """So many of ``count`` samples, or all, at equal distances: some data sets are sorted by class."""
    number = min(count, number)
    return [i * count // number for i in range(number)]


def _phrasing(captions: Sequence[str], turn: int) -> str:
    return captions[turn % len(captions)]
