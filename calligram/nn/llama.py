"""The Transformer of today's language models (arXiv 2302.13971).

RMSNorm, a gated MLP, rotary positions, heads that share keys and values, no biases.

# B batch, T tokens, D width, H heads, G heads of keys and values, K head width
"""

import math
from functools import partial
from typing import Literal

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from calligram.nn.attention import attention
from calligram.nn.cache import KVCache
from calligram.nn.frugal import computed_again
from calligram.nn.mask import Mask
from calligram.nn.picture_mask import Kinds, PictureMask
from calligram.nn.positions import rotate
from calligram.nn.rotary import Layout

CAUSAL = Mask(causal=True)


class LlamaConfig(BaseModel):
    """Size of a Transformer like Llama's; what its layers see, and how it knows places."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["llama"] = "llama"
    width: int = Field(default=128, ge=1, description="channels of a token")
    num_layers: int = Field(default=4, ge=1, description="blocks of attention + MLP")
    num_heads: int = Field(default=4, ge=1, description="attention heads; must divide the width")
    num_kv_heads: int | None = Field(
        default=None, ge=1, description="heads of keys and values, which groups of heads share; unless given, num_heads"
    )
    mlp_ratio: float = Field(
        default=8 / 3, gt=0, description="hidden width of the gated MLP over the width, rounded up to a multiple of 8"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="probability of dropping a residual update's channel")
    norm_eps: float = Field(default=1e-6, gt=0, description="added to the mean square in each RMSNorm")
    qk_norm: bool = Field(default=False, description="RMSNorm of each head's queries and keys (arXiv 2302.05442)")
    rotary: Layout = Field(default="2d", description="places of image tokens: 2d: row and column; 1d: in raster order")
    rotary_base: float = Field(default=10_000.0, gt=1, description="the slowest pair turns once in about 6 × so many")
    attention: Kinds = Field(default="full", description="what image tokens see; paper: kinds take turns, see DALL-E")
    kernel: int = Field(default=11, ge=1, description="tokens a side of convolutional attention; odd")

    @model_validator(mode="after")
    def _heads_fit(self) -> "LlamaConfig":
        if self.width % self.num_heads or self.head_width % 2:
            raise ValueError(f"width {self.width} is not divisible by num_heads {self.num_heads} into even heads")
        if self.num_heads % self.kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not divisible by num_kv_heads {self.kv_heads}")
        if self.rotary == "2d" and self.head_width < 8:
            raise ValueError(f"head width {self.head_width} has no pairs for rows and columns: 8 or more, or rotary 1d")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} has no middle: give an odd one")
        return self

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads

    @property
    def kv_heads(self) -> int:
        return self.num_kv_heads or self.num_heads

    @property
    def mlp_width(self) -> int:
        return math.ceil(self.width * self.mlp_ratio / 8) * 8


class GroupedAttention(nn.Module):
    """Self-attention whose heads share keys and values in groups (arXiv 2305.13245); reads and fills a cache."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        width, keys = config.width, config.kv_heads * config.head_width
        self.head_width = config.head_width
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, keys, bias=False)
        self.value = nn.Linear(width, keys, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.query_norm = _norm(config, config.head_width) if config.qk_norm else nn.Identity()
        self.key_norm = _norm(config, config.head_width) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x_BTD: Tensor,
        cache: KVCache | None = None,
        layer: int = 0,
        mask: Mask | PictureMask | None = None,
        rotation: Tensor | None = None,
    ) -> Tensor:
        q_BTHK, k_BTGK, v_BTGK = (
            project(x_BTD).unflatten(-1, (-1, self.head_width)) for project in (self.query, self.key, self.value)
        )
        q_BTHK, k_BTGK = self.query_norm(q_BTHK), self.key_norm(k_BTGK)
        if rotation is not None:
            q_BTHK, k_BTGK = rotate(q_BTHK, rotation), rotate(k_BTGK, rotation)
        if cache is not None:
            k_BTGK, v_BTGK = cache.append(layer, k_BTGK, v_BTGK)
        return self.out(attention(q_BTHK, k_BTGK, v_BTGK, (mask or CAUSAL).of_layer(layer)).flatten(2))


class LlamaBlock(nn.Module):
    """Attention, then an MLP with a gate (arXiv 2002.05202), each added to the stream after an RMSNorm of its input."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.norm_1 = _norm(config, config.width)
        self.attention = GroupedAttention(config)
        self.norm_2 = _norm(config, config.width)
        self.gate = nn.Linear(config.width, config.mlp_width, bias=False)
        self.up = nn.Linear(config.width, config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.frugal = True  # as in calligram.nn.transformer.Block

    def forward(
        self,
        x_BTD: Tensor,
        cache: KVCache | None = None,
        layer: int = 0,
        mask: Mask | PictureMask | None = None,
        rotation: Tensor | None = None,
    ) -> Tensor:
        x_BTD = x_BTD + self.dropout(self.attention(self.norm_1(x_BTD), cache, layer, mask, rotation))
        return x_BTD + self.dropout(self._mlp(self.norm_2(x_BTD)))

    def _mlp(self, x_BTD: Tensor) -> Tensor:
        gate, up = self.gate(x_BTD), self.up(x_BTD)
        hidden = _gated(gate, up)
        if not self.frugal:
            return self.down(hidden)
        with computed_again(hidden, partial(_gated, gate, up)):
            return self.down(hidden)


class Llama(nn.Module):
    """A causal stack of blocks and a closing RMSNorm: (B, T, D) in and out."""

    def __init__(self, config: LlamaConfig):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(LlamaBlock(config) for _ in range(config.num_layers))
        self.norm = _norm(config, config.width)
        self.apply(self._init)

    def forward(
        self,
        x_BTD: Tensor,
        cache: KVCache | None = None,
        mask: Mask | PictureMask | None = None,
        rotation: Tensor | None = None,
    ) -> Tensor:
        """``rotation``, of :func:`calligram.nn.rotary.rotation`, is how the model knows where a token is."""
        for layer, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, cache, layer, mask, rotation)
        if cache is not None:
            cache.advance(x_BTD.shape[1])
        return self.norm(x_BTD)

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty cache that fits this model: of its groups, on its device and in the dtype it computes in."""
        config, weight = self.config, self.norm.weight
        return KVCache(
            config.num_layers, batch, capacity, config.kv_heads, config.head_width, weight.device, weight.dtype
        )

    def _init(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, LlamaBlock):  # as in calligram.nn.transformer
            std = 0.02 / math.sqrt(2 * self.config.num_layers)
            nn.init.normal_(module.attention.out.weight, std=std)
            nn.init.normal_(module.down.weight, std=std)


def _norm(config: LlamaConfig, width: int) -> nn.RMSNorm:
    return nn.RMSNorm(width, eps=config.norm_eps)


def _gated(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up
