"""The kernel distance between two sets of features: KID (arXiv 1801.01401), unbiased for sets of any size.

# N drawn pictures, M real ones, D features, K pictures of a subset
"""

import math

import torch
from torch import Tensor

from calligram.eval.distances.interval import normal
from calligram.eval.estimate import Estimate

SUBSETS = 100
SUBSET_SIZE = 1000  # pictures at most, as in the paper's code


def kid(drawn_ND: Tensor, real_MD: Tensor, seed: int = 0) -> Estimate:
    """The mean over 100 pairs of subsets, each of half the pictures of the smaller set and 1,000 at most.

    Subsets of K of N pictures differ as estimates from K pictures do, less what they share: the standard error from
    all N is their standard deviation times √(K / (N − K)). Raises ValueError for sets of fewer than four.
    """
    count = min(len(drawn_ND), len(real_MD))
    size = min(SUBSET_SIZE, count // 2)
    if size < 2:
        raise ValueError(f"sets of {len(drawn_ND)} and {len(real_MD)} pictures: the kernel distance takes four or more")
    generator = torch.Generator().manual_seed(seed)
    drawn, real = drawn_ND.double(), real_MD.double()
    found = torch.tensor(
        [polynomial_mmd(_some(drawn, size, generator), _some(real, size, generator)) for _ in range(SUBSETS)],
        dtype=torch.float64,
    )
    return normal(float(found.mean()), float(found.std()) * math.sqrt(size / (count - size)), len(drawn_ND))


def polynomial_mmd(a_KD: Tensor, b_KD: Tensor) -> float:
    """Squared maximum mean discrepancy with the kernel (x·y / D + 1)³, without a picture's likeness to itself."""
    within = sum((_kernel(x, x).sum() - _kernel_of_itself(x).sum()) / (len(x) * (len(x) - 1)) for x in (a_KD, b_KD))
    return float(within - 2 * _kernel(a_KD, b_KD).mean())


def _kernel(a_KD: Tensor, b_KD: Tensor) -> Tensor:
    return (a_KD @ b_KD.T / a_KD.shape[1] + 1) ** 3


def _kernel_of_itself(x_KD: Tensor) -> Tensor:
    return (x_KD.square().sum(1) / x_KD.shape[1] + 1) ** 3


def _some(x_ND: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return x_ND[torch.randperm(len(x_ND), generator=generator)[:size]]
