"""R-precision (arXiv 1711.10485): which of 100 captions was this drawn for? A CLIP answers.

# B drawings, P captions of the split, E embedding
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from calligram.data.dataset import Shards
from calligram.eval.drawings import draw_split, spread
from calligram.eval.estimate import mean
from calligram.eval.sets import read
from calligram.eval.spaces.clip import embed
from calligram.eval.task import EvalConfig, EvalTask, Models, Value

CANDIDATES = 100
POOL = 2000  # samples at most whose captions are candidates


class RPrecision(EvalTask):
    """Share of drawings nearer to their caption than to 99 of other samples, drawn by chance; and of real pictures.

    No caption that is true of the sample is among the wrong ones; where there are fewer, all are.
    """

    name = "r-precision"
    needs = ("dalle", "clip")

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.dalle is not None and models.clip is not None
        shards = Shards(data, config.split)
        drawings = draw_split(models.dalle, data, config)
        true = [shards.read_captions(i) for i in drawings.numbers]
        others = [shards.read_captions(i) for i in spread(len(shards), POOL)]
        pool = list(dict.fromkeys([*drawings.captions, *(caption for each in others for caption in each)]))
        columns = candidates(pool, drawings.captions, true, config.seed)
        if max(len(each) for each in columns) < 2:
            return
        text_PE = models.clip.embed_texts(pool, strict=False)
        yield "dalle.r_precision.drawn", mean(hits(embed(models.clip, drawings.images), text_PE, columns))
        size = models.dalle.image_tokenizer.config.image_size
        real = torch.cat(list(read(shards, drawings.numbers, size, "read pictures")))
        yield "dalle.r_precision.real", mean(hits(embed(models.clip, real), text_PE, columns))
        yield "dalle.r_precision.num_candidates", sum(len(each) for each in columns) / len(columns)


def candidates(
    pool: Sequence[str], captions: Sequence[str], true: Sequence[Sequence[str]], seed: int
) -> list[list[int]]:
    """For each drawing the places of its caption and of 99 wrong ones in the pool, its own first."""
    place = {caption: number for number, caption in enumerate(pool)}
    rng = np.random.default_rng(seed)
    found = []
    for caption, own in zip(captions, true, strict=True):
        wrong = np.setdiff1d(np.arange(len(pool)), [place[each] for each in (*own, caption) if each in place])
        chosen = rng.permutation(wrong)[: CANDIDATES - 1]
        found.append([place[caption], *chosen.tolist()])
    return found


def hits(image_BE: Tensor, text_PE: Tensor, columns: Sequence[Sequence[int]]) -> list[bool]:
    """Whether the first candidate is nearer than all others: of ties none counts."""
    similarity_BP = (image_BE @ text_PE.T).cpu()
    return [
        bool(row[each[0]] > row[list(each[1:])].max()) if len(each) > 1 else True
        for row, each in zip(similarity_BP, columns, strict=True)
    ]
