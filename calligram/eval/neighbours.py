"""Classify by the nearest pictures whose class is known, as DINO is evaluated (arXiv 2104.14294).

# N known pictures, B asked about, C classes, K neighbours, E embedding
"""

import torch
from torch import Tensor

NEIGHBOURS, TEMPERATURE = 20, 0.07  # DINO's
AT_ONCE = 1024


def neighbour_scores(
    known_NE: Tensor, class_N: Tensor, image_BE: Tensor, num_classes: int, neighbours: int = NEIGHBOURS
) -> Tensor:
    """Votes (B, C) of the K nearest of unit vectors, each with the weight exp(cosine / 0.07)."""
    votes = []
    for part in image_BE.split(AT_ONCE):
        near = (part @ known_NE.T).topk(min(neighbours, len(known_NE)))
        vote_BC = torch.zeros(len(part), num_classes)
        votes.append(vote_BC.scatter_add_(1, class_N[near.indices], (near.values / TEMPERATURE).exp()))
    return torch.cat(votes)
