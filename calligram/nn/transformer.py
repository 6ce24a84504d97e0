"""The pre-norm Transformer (arXiv 1706.03762, 2002.04745) under the text, image and decoder models.

# B batch, T tokens, D width, H heads, K head width; R tokens that are read; a packed batch is one row, B = 1
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from calligram.nn.attention import attention
from calligram.nn.cache import KVCache
from calligram.nn.frugal import computed_again
from calligram.nn.mask import Mask
from calligram.nn.picture_mask import PictureMask
from calligram.nn.positions import rotate

Activation = Literal["gelu", "quick_gelu", "gelu_tanh"]


class TransformerConfig(BaseModel):
    """Size of a Transformer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=128, ge=1, description="channels of a token")
    num_layers: int = Field(default=4, ge=1, description="blocks of attention + MLP")
    num_heads: int = Field(default=4, ge=1, description="attention heads; must divide the width")
    mlp_ratio: float = Field(default=4.0, gt=0, description="hidden width of the MLP over the width")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="probability of dropping a residual update's channel")
    activation: Activation = Field(
        default="gelu", description="of the MLP: exact GELU, OpenAI's x·σ(1.702x), or the tanh approximation"
    )
    norm_eps: float = Field(default=1e-5, gt=0, description="added to the variance in each LayerNorm")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "TransformerConfig":
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not divisible by num_heads {self.num_heads}")
        return self

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads


def quick_gelu(x: Tensor) -> Tensor:
    """x·σ(1.702x), which OpenAI's CLIP was trained with; up to 0.02 away from GELU."""
    return x * torch.sigmoid(1.702 * x)


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": quick_gelu, "gelu_tanh": _gelu_tanh}


class Read(NamedTuple):
    """Tokens of a row that are all that is read of a Transformer's output, R of them, and whom each of them sees.

    In the last block no other token needs an answer, an output projection or an MLP.
    """

    index_R: Tensor
    mask: Mask


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection; reads and fills a cache when given one."""

    def __init__(self, config: TransformerConfig, causal: bool):
        super().__init__()
        self.mask = Mask(causal)
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(
        self,
        x_BTD: Tensor,
        cache: KVCache | None = None,
        layer: int = 0,
        mask: Mask | PictureMask | None = None,
        rotation: Tensor | None = None,
        read: Read | None = None,
    ) -> Tensor:
        qkv = self.qkv(x_BTD).unflatten(-1, (3, self.num_heads, -1))
        q_BTHK, k_BTHK, v_BTHK = qkv.unbind(2)
        if rotation is not None:
            q_BTHK, k_BTHK = rotate(q_BTHK, rotation), rotate(k_BTHK, rotation)
        if cache is not None:
            k_BTHK, v_BTHK = cache.append(layer, k_BTHK, v_BTHK)
        mask = (mask or self.mask).of_layer(layer)
        if read is not None:
            q_BTHK, mask = q_BTHK.index_select(1, read.index_R), read.mask
        return self.out(attention(q_BTHK, k_BTHK, v_BTHK, mask).flatten(2))


class Block(nn.Module):
    """Attention, then a two-layer MLP, each added to the stream after a LayerNorm of its input."""

    def __init__(self, config: TransformerConfig, causal: bool):
        super().__init__()
        hidden = int(config.width * config.mlp_ratio)
        self.norm_1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attention = SelfAttention(config, causal)
        self.norm_2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp_in = nn.Linear(config.width, hidden)
        self.mlp_out = nn.Linear(hidden, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.activation = ACTIVATIONS[config.activation]
        # a block that is computed again as a whole has no use for it, and PyTorch no way for both
        self.frugal = True

    def forward(
        self,
        x_BTD: Tensor,
        cache: KVCache | None = None,
        layer: int = 0,
        mask: Mask | PictureMask | None = None,
        rotation: Tensor | None = None,
        read: Read | None = None,
    ) -> Tensor:
        normed_BTD = self.norm_1(x_BTD)
        with self._not_kept(normed_BTD, partial(self.norm_1, x_BTD)):
            update = self.dropout(self.attention(normed_BTD, cache, layer, mask, rotation, read))
        x_BTD = update + (x_BTD if read is None else x_BTD.index_select(1, read.index_R))
        return x_BTD + self.dropout(self._mlp(x_BTD))

    def _mlp(self, x_BTD: Tensor) -> Tensor:
        normed_BTD = self.norm_2(x_BTD)
        with self._not_kept(normed_BTD, partial(self.norm_2, x_BTD)):
            hidden = self.mlp_in(normed_BTD)
        active = self.activation(hidden)
        with self._not_kept(active, partial(self.activation, hidden)):
            return self.mlp_out(active)

    def _not_kept(self, output: Tensor, compute: Callable[[], Tensor]) -> AbstractContextManager:
        return computed_again(output, compute) if self.frugal else nullcontext()


class Transformer(nn.Module):
    """A stack of blocks and a closing LayerNorm: (B, T, D) in and out."""

    def __init__(self, config: TransformerConfig, causal: bool = False):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config, causal) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.apply(self._init)

    def forward(
        self,
        x_BTD: Tensor,
        cache: KVCache | None = None,
        mask: Mask | PictureMask | None = None,
        rotation: Tensor | None = None,
        read: Read | None = None,
    ) -> Tensor:
        """``mask`` in place of the one that was chosen at the start, e.g. to tell where packed sequences end.

        ``rotation``, of :func:`calligram.nn.positions.rotary_2d`, turns queries and keys by where a token is.
        With ``read`` only those tokens come out, (B, R, D).
        """
        last = len(self.blocks) - 1
        for layer, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, cache, layer, mask, rotation, read if layer == last else None)
        if cache is not None:
            cache.advance(x_BTD.shape[1])
        return self.norm(x_BTD)

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty cache that fits this model, on its device and in the dtype it computes in."""
        config, weight = self.config, self.norm.weight
        return KVCache(
            config.num_layers, batch, capacity, config.num_heads, config.head_width, weight.device, weight.dtype
        )

    def _init(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        if isinstance(module, Block):
            # The stream adds 2 updates a layer: GPT-2's scaling keeps its variance level with depth.
            std = 0.02 / math.sqrt(2 * self.config.num_layers)
            nn.init.normal_(module.attention.out.weight, std=std)
            nn.init.normal_(module.mlp_out.weight, std=std)


def learned(*shape: int, std: float = 0.02) -> nn.Parameter:
    """A learned table of embeddings or positions, drawn from a narrow normal distribution."""
    return nn.Parameter(torch.randn(*shape) * std)
