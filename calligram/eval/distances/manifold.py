"""Whether pictures lie where others lie: precision and recall (arXiv 1904.06991), density and coverage (2002.09797).

A set's region is made of balls around its pictures, each as large as to reach the k-th nearest of the same set.

# N drawn pictures, M real ones, D features
"""

import torch
from torch import Tensor

from calligram.eval.estimate import Estimate, mean

NEAREST = 3  # of precision and recall, as in the paper
NEAREST_OF_DENSITY = 5  # as in the paper


def precision_recall(drawn_ND: Tensor, real_MD: Tensor) -> dict[str, Estimate]:
    """Each is a share or a mean over pictures, and its interval one of these pictures with the regions as they are.

    ``precision``: drawn pictures in the real ones' region. ``recall``: the other way round. ``density``: how many real
    pictures' balls a drawn one is in, of 5; it may exceed 1. ``coverage``: real pictures whose ball has a drawn one.
    Raises ValueError for sets of fewer than two.
    """
    if min(len(drawn_ND), len(real_MD)) < 2:
        raise ValueError("a ball reaches to a neighbour: two pictures a set at least")
    drawn, real = drawn_ND.double(), real_MD.double()
    between_NM = _distances(drawn, real)
    is_near_NM = between_NM <= radii(real, NEAREST_OF_DENSITY)
    return {
        "precision": mean((between_NM <= radii(real, NEAREST)).any(1)),
        "recall": mean((between_NM <= radii(drawn, NEAREST)[:, None]).any(0)),
        "density": mean(is_near_NM.sum(1) / min(NEAREST_OF_DENSITY, len(real) - 1)),
        "coverage": mean(is_near_NM.any(0)),
    }


def radii(x_ND: Tensor, nearest: int) -> Tensor:
    """Distance of each to its k-th nearest other, (N,); of smaller sets, to the farthest."""
    # of the k + 1 nearest one is the picture itself
    return _distances(x_ND, x_ND).kthvalue(min(nearest + 1, len(x_ND)), dim=1).values


def _distances(a_ND: Tensor, b_MD: Tensor) -> Tensor:
    """(N, M); the same picture twice is at 0 exactly, which the faster way by products would miss."""
    return torch.cdist(a_ND, b_MD, compute_mode="donot_use_mm_for_euclid_dist")
