"""Retrieval both ways: a picture's caption among all captions, and a caption's picture among all pictures.

# B pictures, and as many captions, P right pairs
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from calligram.eval.features import embed_split
from calligram.eval.ranks import best_ranks
from calligram.eval.retrieval import figures
from calligram.eval.task import EvalConfig, EvalTask, Models, Value

NUM_PAIRS = 1000


class Retrieval(EvalTask):
    """Recall@k, median and mean reciprocal rank over the first 1,000 pictures, by the first caption of each.

    Any of the pictures with the same caption counts as right.
    """

    name = "retrieval"
    needs = ("clip",)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        clip = models.clip
        assert clip is not None
        found = embed_split(clip, data, config.split, min(config.max_samples, NUM_PAIRS))
        rows = [row for row, captions in enumerate(found.captions) if captions]
        if not rows:
            return
        captions = [found.captions[row][0] for row in rows]
        text_BE = clip.embed_texts(captions, strict=False)  # cut where too long, as in training
        ranks = best_ranks(found.image_BE[rows], text_BE, equal_pairs(captions).to(text_BE.device))
        for direction, rank_B in (("text", ranks.text_B), ("image", ranks.image_T)):
            for name, value in figures(rank_B.cpu()):
                yield f"clip.retrieval.{direction}_{name}", value
        yield "clip.retrieval.num_samples", len(rows)


def equal_pairs(captions: Sequence[str]) -> Tensor:
    """(P, 2), each with each that has the same caption."""
    number = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    id_B = torch.tensor([number[caption] for caption in captions])
    return (id_B[:, None] == id_B).nonzero()
