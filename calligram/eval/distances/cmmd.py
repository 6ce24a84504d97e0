"""CMMD (arXiv 2401.09603): the maximum mean discrepancy between unit vectors under a Gaussian kernel.

# N drawn pictures, M real ones, D features, R resamples
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from calligram.eval.distances.interval import normal
from calligram.eval.estimate import Estimate

SIGMA = 10.0  # the paper's: distances between unit vectors are 2 at most, so the kernel is nearly quadratic
SCALE = 1000.0  # the paper's, so that figures are easy to read
RESAMPLES = 100


def cmmd(drawn_ND: Tensor, real_MD: Tensor, seed: int = 0) -> Estimate:
    """1,000 × squared MMD with a picture's likeness to itself counted, as the paper's code has it.

    The interval is by the standard error of 100 bootstrap resamples of both sets.
    """
    drawn, real = F.normalize(drawn_ND.double(), dim=1), F.normalize(real_MD.double(), dim=1)
    kernels = gaussian(drawn, drawn), gaussian(real, real), gaussian(drawn, real)
    generator = torch.Generator().manual_seed(seed)
    weights = [_resampled(len(x), generator) for x in (drawn, real)]
    equal = [torch.full((1, len(x)), 1 / len(x), dtype=torch.float64) for x in (drawn, real)]
    return normal(float(_mmd(*kernels, *equal)), float(_mmd(*kernels, *weights).std()), len(drawn), lowest=0.0)


def gaussian(a_ND: Tensor, b_MD: Tensor) -> Tensor:
    """exp(−|x − y|² / 2σ²), (N, M)."""
    distances = a_ND.square().sum(1)[:, None] + b_MD.square().sum(1) - 2 * a_ND @ b_MD.T
    return torch.exp(-distances / (2 * SIGMA**2))


def _mmd(k_NN: Tensor, k_MM: Tensor, k_NM: Tensor, weight_RN: Tensor, weight_RM: Tensor) -> Tensor:
    """For each row of weights, which sum to 1: (R,)."""
    within = ((weight_RN @ k_NN) * weight_RN).sum(1) + ((weight_RM @ k_MM) * weight_RM).sum(1)
    return SCALE * (within - 2 * ((weight_RN @ k_NM) * weight_RM).sum(1))


def _resampled(count: int, generator: torch.Generator) -> Tensor:
    """How often each picture comes in each resample, as a share of all: (R, count)."""
    drawn = torch.randint(count, (RESAMPLES, count), generator=generator)
    times = torch.zeros(RESAMPLES, count, dtype=torch.float64)
    return times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64)) / count
