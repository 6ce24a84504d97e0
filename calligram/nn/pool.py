"""One vector of many tokens.

# B batch, T tokens, N tokens of all together, D width, E width of the vector, M queries, H heads, K head width
"""

from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calligram.nn.attention import attention
from calligram.nn.mask import FULL, Mask, one_query_each
from calligram.nn.transformer import ACTIVATIONS, TransformerConfig, learned


class AttentionPool(nn.Module):
    """A learned question asks all tokens, an MLP refines the answer: the MAP head of arXiv 2106.04560, and SigLIP's.

    (B, T, D) → (B, D). Width, heads, MLP and activation are those of the Transformer before it.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        hidden = int(config.width * config.mlp_ratio)
        self.num_heads = config.num_heads
        self.probe = learned(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp_in = nn.Linear(config.width, hidden)
        self.mlp_out = nn.Linear(hidden, config.width)
        self.activation = ACTIVATIONS[config.activation]
        for layer in (self.qkv, self.out, self.mlp_in, self.mlp_out):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x_BTD: Tensor, seqlens: tuple[int, ...] | None = None) -> Tensor:
        """With ``seqlens``, (1, N, D) → (B, D): so many tokens a picture, one behind the other in the one row."""
        width = x_BTD.shape[2]
        # one matrix for all three, as elsewhere; but the probe is the only query, and no key
        q_D = F.linear(self.probe, self.qkv.weight[:width], self.qkv.bias[:width])
        kv = F.linear(x_BTD, self.qkv.weight[width:], self.qkv.bias[width:])
        k_BTHK, v_BTHK = kv.unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        shape, mask = _queries(x_BTD, seqlens)
        q_BMHK = q_D.unflatten(-1, (self.num_heads, -1)).expand(*shape, -1, -1)
        answer_BD = self.out(attention(q_BMHK, k_BTHK, v_BTHK, mask).flatten(0, 1).flatten(1))
        return answer_BD + self.mlp_out(self.activation(self.mlp_in(self.norm(answer_BD))))


class QueryPool(nn.Module):
    """A learned question asks all tokens, and the answer is normalised: CoCa's pooler (arXiv 2205.01917).

    (B, T, D) → (B, E). As open_clip has it, question and tokens are normalised first. Its pooler has more questions,
    whose answers a decoder reads; the picture's vector is that to the first.
    """

    def __init__(self, width: int, out_width: int, num_heads: int, norm_eps: float):
        super().__init__()
        self.num_heads = num_heads
        self.probe = learned(out_width)
        self.norm_q = nn.LayerNorm(out_width)
        self.norm_k = nn.LayerNorm(width)
        self.q = nn.Linear(out_width, out_width, bias=False)
        self.kv = nn.Linear(width, 2 * out_width, bias=False)
        self.qkv_bias = nn.Parameter(torch.zeros(3 * out_width))
        self.out = nn.Linear(out_width, out_width)
        self.norm = nn.LayerNorm(out_width, eps=norm_eps)
        for layer in (self.q, self.kv, self.out):
            nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_BTD: Tensor, seqlens: tuple[int, ...] | None = None) -> Tensor:
        """With ``seqlens``, (1, N, D) → (B, E): so many tokens a picture, one behind the other in the one row."""
        q_bias, kv_bias = self.qkv_bias.split([len(self.probe), 2 * len(self.probe)])
        q_E = F.linear(self.norm_q(self.probe), self.q.weight, q_bias)
        kv = F.linear(self.norm_k(x_BTD), self.kv.weight, kv_bias)
        k_BTHK, v_BTHK = kv.unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        shape, mask = _queries(x_BTD, seqlens)
        q_BMHK = q_E.unflatten(-1, (self.num_heads, -1)).expand(*shape, -1, -1)
        return self.norm(self.out(attention(q_BMHK, k_BTHK, v_BTHK, mask).flatten(0, 1).flatten(1)))


def _queries(x_BTD: Tensor, seqlens: tuple[int, ...] | None) -> tuple[tuple[int, int], Mask]:
    """Rows and queries of each, and whom they see: one query a picture, and all of it."""
    if seqlens is None:
        return (len(x_BTD), 1), FULL
    return (1, len(seqlens)), one_query_each(seqlens)


def packed_means(x_ND: Tensor, seqlens: tuple[int, ...], first: int = 0) -> Tensor:
    """The mean of each sequence from its token ``first`` on, (B, D); neighbours of equal length are a batch as they lie
    there."""
    runs = [(len(list(run)), length) for length, run in groupby(seqlens)]
    parts = x_ND.split([number * length for number, length in runs])
    return torch.cat([x.unflatten(0, run)[:, first:].mean(1) for x, run in zip(parts, runs, strict=True)])
