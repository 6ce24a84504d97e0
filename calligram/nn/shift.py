"""Tokens that know their neighbours before the first layer.

# B batch, T tokens, D width, K tokens back
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenShift(nn.Module):
    """Adds to each token the K before it, weighted channel by channel: a causal depthwise convolution.

    Token shift of RWKV (arXiv 2305.13048), here once, on embeddings. "circle" then knows that it is a red
    one, for which attention would first have to learn to look one token back. (B, T, D) in and out.
    """

    def __init__(self, width: int, number: int):
        super().__init__()
        # not all alike: a token must not look the same one and two places back
        self.gain = nn.Parameter(0.5 + 0.1 * torch.randn(number, width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        length = x_BTD.shape[1]
        back = [F.pad(x_BTD, (0, 0, distance, 0))[:, :length] for distance in range(1, len(self.gain) + 1)]
        return x_BTD + sum(gain * x for gain, x in zip(self.gain, back, strict=True))
