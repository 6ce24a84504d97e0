"""Tokens that know their neighbours before the first layer.

# B batch, T tokens, D width
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenShift(nn.Module):
    """Adds to each token the K before it, weighted channel by channel: a causal depthwise convolution.

    Token shift of RWKV (arXiv 2305.13048), here once, on embeddings. "circle" then knows that it is a red
    one, for which attention would first have to learn to look one token back. (…, T, D) in and out. Where
    sequences are packed into one row, ``position_T`` says how many tokens of its own stand before each.
    """

    def __init__(self, width: int, number: int):
        super().__init__()
        # not all alike: a token must not look the same one and two places back
        self.gain = nn.Parameter(0.5 + 0.1 * torch.randn(number, width))

    def forward(self, x_BTD: Tensor, position_T: Tensor | None = None) -> Tensor:
        length = x_BTD.shape[-2]
        distances = range(1, len(self.gain) + 1)
        back = [F.pad(x_BTD, (0, 0, distance, 0))[..., :length, :] for distance in distances]
        if position_T is not None:
            back = [x * (position_T >= distance)[:, None] for x, distance in zip(back, distances, strict=True)]
        return x_BTD + sum(gain * x for gain, x in zip(self.gain, back, strict=True))
