"""Figures of retrieval from ranks, with intervals: recall@k, median rank, mean reciprocal rank.

# B pictures, T captions, N ranks
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from calligram.eval.estimate import Estimate, Indices, bootstrap, mean
from calligram.eval.ranks import best_ranks

RANKS = (1, 5, 10)


def figures(rank_N: Tensor, unit_N: Tensor | None = None) -> Iterator[tuple[str, Estimate]]:
    """("recall_at_1", …) of one direction. ``unit_N`` says which picture a rank came with: those are resampled."""
    values = {f"recall_at_{k}": (rank_N <= k).double() for k in RANKS} | {"mean_reciprocal_rank": 1 / rank_N}
    for name, value_N in values.items():
        yield name, mean(value_N) if unit_N is None else _mean_by_unit(value_N, unit_N)
    yield "median_rank", _median(rank_N, torch.arange(len(rank_N)) if unit_N is None else unit_N)


def _mean_by_unit(value_N: Tensor, unit_N: Tensor) -> Estimate:
    """The mean of all values, of which those of a unit are drawn together: captions of a picture are no free draws."""
    units = unit_N.numpy()
    total, count = np.bincount(units, value_N.numpy()), np.bincount(units)

    def statistic(rows: Indices) -> float:
        return float(total[rows].sum() / count[rows].sum())

    return bootstrap(statistic, len(count))


def _median(rank_N: Tensor, unit_N: Tensor) -> Estimate:
    order = rank_N.argsort(stable=True)
    ranks, units = rank_N[order].numpy(), unit_N[order].numpy()
    number = int(unit_N.max()) + 1

    def statistic(rows: Indices) -> float:
        # sorted once: in a resample a rank stands as often as its unit was drawn
        places = np.bincount(rows, minlength=number)[units].cumsum()
        low, high = (np.searchsorted(places, half, "right") for half in ((places[-1] - 1) // 2, places[-1] // 2))
        return float((ranks[low] + ranks[high]) / 2)

    return bootstrap(statistic, number)


def pairs_of(captions: Sequence[Sequence[str]]) -> tuple[list[str], Tensor]:
    """The different captions, and (picture, caption) pairs: a caption belongs to every picture that has it."""
    number = {caption: None for each in captions for caption in each}
    place = {caption: i for i, caption in enumerate(number)}
    pairs = [(picture, place[caption]) for picture, each in enumerate(captions) for caption in dict.fromkeys(each)]
    return list(number), torch.tensor(pairs, dtype=torch.long).view(-1, 2)


def both_ways(image_BE: Tensor, text_TE: Tensor, pair_P2: Tensor) -> Iterator[tuple[str, Estimate]]:
    """``text_…`` is where each picture finds a caption of its own, ``image_…`` where each caption finds a picture.

    Which picture a caption belongs to in a resample: the first that has it.
    """
    ranks = best_ranks(image_BE, text_TE, pair_P2.to(image_BE.device))
    first_T = torch.full((len(text_TE),), len(image_BE)).scatter_reduce_(0, pair_P2[:, 1], pair_P2[:, 0], "amin")
    for name, value in figures(ranks.text_B.cpu()):
        yield f"text_{name}", value
    # pictures that are nobody's first have no captions of their own to be drawn
    units = torch.unique(first_T, return_inverse=True)[1]
    for name, value in figures(ranks.image_T.cpu(), units):
        yield f"image_{name}", value
