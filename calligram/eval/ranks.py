"""At which rank stands the best right answer? For both directions of retrieval in one pass, block by block.

A matrix of all similarities is never held: 30,000 pictures × 150,000 captions would take 18 GB, and CLIP_benchmark's
one-hot vectors of the hits a multiple of it.

# B pictures, T captions, P right pairs of them, E embedding
"""

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = (1024, 1024)  # pictures, captions: 4 MiB of scores, about what stays in a core's caches
NEAR = 2.0**-21  # cosines closer than this are equal: in fp32 one and the same comes out so differently by two ways
PAIRS_AT_ONCE = 1 << 14


class Ranks(NamedTuple):
    """From 1. Of those that are as near as the best right one, half count as ahead of it, hence halves of a rank."""

    text_B: Tensor  # of the best right caption for each picture
    image_T: Tensor  # of the best right picture for each caption


def best_ranks(image_BE: Tensor, text_TE: Tensor, pair_P2: Tensor, block: tuple[int, int] = BLOCK) -> Ranks:
    """Ranks of the nearest right answers, of unit vectors and (picture, caption) numbers of what belongs together.

    A picture may have any number of captions, and a caption of pictures. Without ties recall@k, the share of ranks up
    to k, is that of the ``topk`` of CLIP_benchmark; where there are some, topk takes any of them, and a model that
    gives the same vector for all is as good as the order of the data. Here it lands in the middle.
    Raises ValueError for a picture or a caption that belongs to nothing.
    """
    pair_P2 = pair_P2[pair_P2[:, 0].argsort(stable=True)]
    image_BE = image_BE.float() / NEAR  # a power of two: no digit changes
    text_TE = text_TE.float()
    best_B, best_T = _best(image_BE, text_TE, pair_P2)
    # how much more often a score was above the best right one than below it, ties being neither
    lead_B, lead_T = torch.zeros_like(best_B, dtype=torch.double), torch.zeros_like(best_T, dtype=torch.double)
    for top in range(0, len(image_BE), block[0]):
        rows = slice(top, min(top + block[0], len(image_BE)))
        own_P2 = _within(pair_P2, rows)
        for left in range(0, len(text_TE), block[1]):
            columns = slice(left, min(left + block[1], len(text_TE)))
            score = image_BE[rows] @ text_TE[columns].T
            inside = (own_P2[:, 1] >= left) & (own_P2[:, 1] < columns.stop)
            at = own_P2[inside] - torch.tensor([top, left], device=own_P2.device)
            score[at[:, 0], at[:, 1]] = -torch.inf  # right ones are never ahead
            lead_B[rows] += (score - best_B[rows, None]).clamp_(-1, 1).trunc_().sum(1)
            lead_T[columns] += score.sub_(best_T[columns]).clamp_(-1, 1).trunc_().sum(0)
    return Ranks(_rank(lead_B, len(text_TE)), _rank(lead_T, len(image_BE)))


def _best(image_BE: Tensor, text_TE: Tensor, pair_P2: Tensor) -> tuple[Tensor, Tensor]:
    """The highest score of the right answers, for each picture and for each caption."""
    score_P = torch.cat(
        [(image_BE[part[:, 0]] * text_TE[part[:, 1]]).sum(1) for part in pair_P2.split(PAIRS_AT_ONCE)]
        or [image_BE.new_empty(0)]
    )
    found = []
    for name, number, row_P in (
        ("picture", len(image_BE), pair_P2[:, 0]),
        ("caption", len(text_TE), pair_P2[:, 1]),
    ):
        best = image_BE.new_full((number,), -torch.inf).scatter_reduce_(0, row_P, score_P, "amax")
        if best.isneginf().any():
            raise ValueError(f"{name} {int(best.isneginf().int().argmax())} belongs to nothing")
        found.append(best)
    return found[0], found[1]


def _within(pair_P2: Tensor, rows: slice) -> Tensor:
    """The pairs of some pictures, of pairs sorted by picture."""
    bounds = torch.tensor([rows.start, rows.stop], device=pair_P2.device)
    start, stop = torch.searchsorted(pair_P2[:, 0].contiguous(), bounds).tolist()
    return pair_P2[start:stop]


def _rank(lead: Tensor, number: int) -> Tensor:
    # of n scores a are ahead, b behind and t tied: lead = a - b, so that (n + lead) / 2 = a + t / 2
    return (lead + number).div_(2).add_(1)
