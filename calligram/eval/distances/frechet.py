"""The Fréchet distance between normal distributions fitted to two sets of features: FID (arXiv 1706.08500).

# N drawn pictures, M real ones, D features
"""

import numpy as np
import torch
from torch import Tensor

from calligram.eval.distances.interval import normal
from calligram.eval.estimate import Estimate

FEW, MANY = 10, 50  # resamples: each takes D³ steps
WIDE = 512  # features from which on there are few resamples


def fid(drawn_ND: Tensor, real_MD: Tensor, seed: int = 0) -> Estimate:
    """FID with the standard error of 50 bootstrap resamples of both sets (10 where D is above 512).

    It is the larger the smaller the sets are (arXiv 1911.07023): compare figures of equal counts alone.
    """
    rng = np.random.default_rng(seed)
    drawn, real = drawn_ND.double(), real_MD.double()
    found = [frechet(_again(drawn, rng), _again(real, rng)) for _ in range(FEW if drawn.shape[1] > WIDE else MANY)]
    return normal(frechet(drawn, real), float(np.std(found, ddof=1)), len(drawn), lowest=0.0)


def frechet(a_ND: Tensor, b_MD: Tensor) -> float:
    """|μa − μb|² + tr(Σa + Σb − 2 (Σa Σb)^½), in fp64. Raises ValueError for sets of fewer than two."""
    if min(len(a_ND), len(b_MD)) < 2:
        raise ValueError("a covariance needs two pictures a set at least")
    (mean_a, cov_a), (mean_b, cov_b) = _moments(a_ND.double()), _moments(b_MD.double())
    root_a = _root(cov_a)
    # (Σa Σb)^½ has the trace of (Σa^½ Σb Σa^½)^½, which is symmetric: its eigenvalues are real
    eigenvalues = torch.linalg.eigvalsh(root_a @ cov_b @ root_a)
    trace = eigenvalues.clamp(min=0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * trace)


def _moments(x_ND: Tensor) -> tuple[Tensor, Tensor]:
    return x_ND.mean(0), torch.cov(x_ND.T).reshape(x_ND.shape[1], x_ND.shape[1])


def _root(cov_DD: Tensor) -> Tensor:
    eigenvalues, vectors = torch.linalg.eigh(cov_DD)
    return vectors * eigenvalues.clamp(min=0).sqrt() @ vectors.T


def _again(x_ND: Tensor, rng: np.random.Generator) -> Tensor:
    return x_ND[torch.from_numpy(rng.integers(0, len(x_ND), len(x_ND)))]
