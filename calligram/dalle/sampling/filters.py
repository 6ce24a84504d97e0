"""From logits to a token: temperature, filters, and a uniform number that decides.

The logits are those of image tokens alone, so that k, p and what else is asked count nothing but image tokens.

# B pictures, V image vocabulary; leading axes may be more than one
"""

import torch
from torch import Tensor

from calligram.dalle.sampling.config import SamplingConfig


def choose(logits_BV: Tensor, noise_B: Tensor, config: SamplingConfig) -> Tensor:
    """Tokens (B,) by inverting the distribution function at ``noise_B``, uniform in [0, 1).

    In fp64, so that nothing is lost here: where a batch of another size rounds a logit otherwise, the token changes
    only if the noise lies within that rounding of a border between two tokens. The fast step has no such roundings.
    """
    cumulative_BV = probabilities(logits_BV, config).cumsum(-1)
    # scaled by the last value, which rounding may leave a little off 1
    threshold_B1 = noise_B[..., None] * cumulative_BV[..., -1:]
    tokens = torch.searchsorted(cumulative_BV, threshold_B1, right=True).squeeze(-1)
    return tokens.clamp(max=logits_BV.shape[-1] - 1)


def probabilities(logits_BV: Tensor, config: SamplingConfig) -> Tensor:
    """What a token is drawn from: after temperature, top-k, top-p and min-p, in this order, fp64."""
    logits_BV = logits_BV.double() / config.temperature
    if config.top_k is not None and config.top_k < logits_BV.shape[-1]:
        logits_BV = keep_top_k(logits_BV, config.top_k)
    if config.top_p is not None and config.top_p < 1:
        logits_BV = keep_top_p(logits_BV, config.top_p)
    if config.min_p:
        logits_BV = keep_min_p(logits_BV, config.min_p)
    return logits_BV.softmax(-1)


def keep_top_k(logits_BV: Tensor, k: int) -> Tensor:
    """−∞ for all but the k largest; more than k stay where several are equal to the k-th."""
    smallest_kept = logits_BV.topk(k).values[..., -1:]
    return logits_BV.masked_fill(logits_BV < smallest_kept, -torch.inf)


def keep_top_p(logits_BV: Tensor, p: float) -> Tensor:
    """−∞ for all but the fewest tokens that together reach probability p (nucleus sampling, arXiv 1904.09751)."""
    sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True, stable=True)
    probabilities_BV = sorted_BV.softmax(-1)
    # kept as long as those before it do not reach p: the likeliest always is
    dropped_BV = probabilities_BV.cumsum(-1) - probabilities_BV >= p
    return logits_BV.masked_fill(dropped_BV.gather(-1, order_BV.argsort(-1)), -torch.inf)


def keep_min_p(logits_BV: Tensor, share: float) -> Tensor:
    """−∞ for tokens less likely than ``share`` of the likeliest (arXiv 2407.01082)."""
    log_share = torch.tensor(share, dtype=logits_BV.dtype, device=logits_BV.device).log()
    return logits_BV.masked_fill(logits_BV < logits_BV.amax(-1, keepdim=True) + log_share, -torch.inf)
