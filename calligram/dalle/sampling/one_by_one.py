"""Plain decoding: a pass of the model for each token.

# B pictures, N image tokens
"""

from collections.abc import Iterator

from torch import Tensor

from calligram.dalle.sampling.config import SamplingConfig
from calligram.dalle.sampling.filters import choose
from calligram.dalle.sampling.reading import Reading


def draw_plain(
    reading: Reading, tokens_BN: Tensor, keep_BN: Tensor, noise_BN: Tensor, config: SamplingConfig
) -> Iterator[int]:
    """Fill in ``tokens_BN`` where nothing is kept; yields how many are final.

    No pass for positions that every picture keeps: the next pass reads them all together.
    """
    kept_N = keep_BN.all(0).tolist()
    for position, kept in enumerate(kept_N):
        if not kept:
            logits_BV = reading.logits(tokens_BN, position, position + 1)[:, -1]
            drawn_B = choose(logits_BV, noise_BN[:, position], config)
            tokens_BN[:, position] = drawn_B.where(~keep_BN[:, position], tokens_BN[:, position])
        yield position + 1
