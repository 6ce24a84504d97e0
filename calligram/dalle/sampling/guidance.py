"""Classifier-free guidance (arXiv 2207.12598): how strong it is where in the picture.

# B pictures, M positions, N image tokens, V image vocabulary
"""

import math

import torch
from torch import Tensor

from calligram.dalle.sampling.config import SamplingConfig, Schedule


def scales(config: SamplingConfig, num_tokens: int) -> Tensor:
    """The guidance scale at each position of a picture, (N,) fp32; exactly 1 where there is none.

    On an interval only, as arXiv 2404.07724 has it for the noise levels of diffusion. Schedules that grow keep more
    variety than a constant one (arXiv 2404.13040); their excess over 1 has the constant one's mean over the picture.
    """
    low, high = config.guidance_interval
    scale_N = [
        1 + (config.guidance - 1) * _growth(config.guidance_schedule, (position + 0.5) / num_tokens)
        if low <= position / num_tokens < high
        else 1.0
        for position in range(num_tokens)
    ]
    return torch.tensor(scale_N)


def _growth(schedule: Schedule, share: float) -> float:
    if schedule == "linear":
        return 2 * share
    return 1 - math.cos(math.pi * share) if schedule == "cosine" else 1.0


def guide(conditional_BMV: Tensor, null_BMV: Tensor, scale_M: Tensor) -> Tensor:
    """Logits pushed away from those of the empty text; where the scale is 1, the conditional ones as they are."""
    scale_M1 = scale_M.to(conditional_BMV.device, conditional_BMV.dtype)[:, None]
    guided_BMV = null_BMV + scale_M1 * (conditional_BMV - null_BMV)
    return guided_BMV if bool((scale_M != 1).all()) else torch.where(scale_M1 == 1, conditional_BMV, guided_BMV)
