"""Exponentials of a tile of scores, which rows and columns share where that is safe. All in base 2.

# R rows and S columns of a tile
"""

import math

import torch
from torch import Tensor

from calligram.clip.losses.tiles import Tiles


def add_log2_sums(scores_RS: Tensor, sum_R: Tensor, sum_S: Tensor, tiles: Tiles) -> Tensor:
    """Merge a tile into log2 Σ 2^score of its rows and its columns, in fp64; the scores are lost.

    Returns the largest score of each row; −inf stands for what does not count.
    """
    top_R, top_S = scores_RS.amax(1), scores_RS.amax(0)
    some_R, some_S = top_R[top_R != -torch.inf], top_S[top_S != -torch.inf]
    if not len(some_R):
        return top_R
    shift = common_shift(some_R, some_S, scores_RS.dtype)
    if shift is not None:
        exp_RS = (scores_RS.sub_(shift) if shift else scores_RS).exp2_()
        found_R, found_S = (exp_RS.sum(dim).double().log2() + shift for dim in (1, 0))
    else:
        found_R, found_S = (_log2_sum(scores_RS, top, dim, tiles) for top, dim in ((top_R, 1), (top_S, 0)))
    sum_R.copy_(torch.logaddexp2(sum_R, found_R))
    sum_S.copy_(torch.logaddexp2(sum_S, found_S))
    return top_R


def _log2_sum(scores_RS: Tensor, top: Tensor, dim: int, tiles: Tiles) -> Tensor:
    """log2 Σ 2^score along a dimension, each with the whole part of its own maximum: taking that off rounds nothing."""
    whole = top.clamp(min=torch.finfo(top.dtype).min).round()
    exp_RS = torch.sub(scores_RS, whole.unsqueeze(dim), out=tiles.buffer(*scores_RS.shape)).exp2_()
    return exp_RS.sum(dim).double().log2() + whole


def weigh(scores_RS: Tensor, sum_R: Tensor, weight_R: Tensor, sum_S: Tensor, weight_S: Tensor, tiles: Tiles) -> Tensor:
    """weight_R · 2^(score − sum_R) + weight_S · 2^(score − sum_S), in place of the scores; sums and weights in fp64."""
    dtype, buffer_RS = scores_RS.dtype, tiles.buffer(*scores_RS.shape)
    shift = common_shift(sum_R, sum_S, dtype)
    if shift is not None:
        factor_R, factor_S = ((w * torch.exp2(shift - x)).to(dtype) for w, x in ((weight_R, sum_R), (weight_S, sum_S)))
        exp_RS = (scores_RS.sub_(shift) if shift else scores_RS).exp2_()
        return exp_RS.mul_(torch.add(factor_R[:, None], factor_S, out=buffer_RS))
    whole_R, whole_S = sum_R.round(), sum_S.round()
    factor_R, factor_S = (weight_R * torch.exp2(whole_R - sum_R)), (weight_S * torch.exp2(whole_S - sum_S))
    by_row_RS = (
        torch.sub(scores_RS, whole_R[:, None].to(dtype), out=buffer_RS).exp2_().mul_(factor_R[:, None].to(dtype))
    )
    return scores_RS.sub_(whole_S.to(dtype)).exp2_().mul_(factor_S.to(dtype)).add_(by_row_RS)


def common_shift(a: Tensor, b: Tensor, dtype: torch.dtype) -> float | None:
    """What may be taken from exponents of the size of all these, so that 2^… fits ``dtype``; None where nothing may.

    A whole number, or 0 where that will do. What is lost beside the largest is below 2^-70 of it.
    """
    low_a, high_a, low_b, high_b = torch.stack([*a.aminmax(), *b.aminmax()]).tolist()
    low, high = min(low_a, low_b), max(high_a, high_b)
    reach = -0.4 * math.log2(torch.finfo(dtype).tiny)
    if -reach <= low and high <= reach:
        return 0.0
    return float(round((low + high) / 2)) if high - low <= 2 * reach else None
