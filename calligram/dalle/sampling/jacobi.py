"""Speculative Jacobi decoding (arXiv 2410.01699): guess a window of tokens, correct all of it in one pass, repeat.

Each position has one uniform number, the same in every pass. What plain decoding draws is then a function of that
noise, token i = f(tokens before i, noise of i), and the passes iterate it to its only fixed point: the picture is the
one that plain decoding draws for the same seed, so that its distribution is exact and no acceptance test needs noise of
its own. (The paper draws afresh in each pass; draws that are coupled from pass to pass, as here, let guesses come to
rest, arXiv 2510.24211.)

# B pictures, N image tokens, W window
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from calligram.dalle.sampling.config import SamplingConfig
from calligram.dalle.sampling.filters import choose
from calligram.dalle.sampling.reading import Reading


def draw_jacobi(
    reading: Reading, tokens_BN: Tensor, keep_BN: Tensor, noise_BN: Tensor, config: SamplingConfig
) -> Iterator[int]:
    """Fill in ``tokens_BN`` where nothing is kept; yields how many are final."""
    num_tokens, known, guessed = tokens_BN.shape[1], 0, 0
    while known < num_tokens:
        known = skip_kept(keep_BN, known)
        last = min(known + config.jacobi_window, num_tokens)
        guessed = guess(tokens_BN, keep_BN, max(guessed, known), last, reading.model.grid)
        if known < num_tokens:
            logits_BWV = reading.logits(tokens_BN, known, last)
            drawn_BW = choose(logits_BWV, noise_BN[:, known:last], config)
            corrected_BW = torch.where(keep_BN[:, known:last], tokens_BN[:, known:last], drawn_BW)
            right = num_right(corrected_BW == tokens_BN[:, known:last])
            tokens_BN[:, known:last] = corrected_BW
            known = min(known + right + 1, last)
            reading.forget(known - 1)
        yield known


def skip_kept(keep_BN: Tensor, known: int) -> int:
    """The first position from ``known`` on that some picture does not keep."""
    open_N = (~keep_BN[:, known:].all(0)).nonzero()
    return known + int(open_N[0]) if len(open_N) else keep_BN.shape[1]


def num_right(equal_BW: Tensor) -> int:
    """How many guesses at the window's beginning were right in every picture: what they led to was drawn rightly."""
    return int(equal_BW.all(0).int().cumprod(0).sum())


def guess(tokens_BN: Tensor, keep_BN: Tensor, first: int, last: int, grid: int) -> int:
    """Fill positions ``first`` … ``last`` − 1 with what stands above, in the top row with what stands to the left.

    Returns ``last``.
    """
    for position in range(first, last):
        source = position - grid if position >= grid else max(position - 1, 0)
        column = tokens_BN[:, source].where(~keep_BN[:, position], tokens_BN[:, position])
        tokens_BN[:, position] = column
    return max(first, last)
