"""Our Vision Transformer (arXiv 2010.11929): picture → vector.

# B batch, T tokens, D width, K head width
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from calligram.clip.towers.projection import Projection
from calligram.nn.image import ConvStem
from calligram.nn.pool import AttentionPool, QueryPool
from calligram.nn.positions import rotary_2d, sincos_2d
from calligram.nn.transformer import Transformer, TransformerConfig, learned


class ViTConfig(BaseModel):
    """Vision Transformer (arXiv 2010.11929)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["vit"] = "vit"
    patch: int = Field(default=16, ge=1, description="pixels a side of one token")
    stem: tuple[int, ...] = Field(
        default=(), description="channels of a convolutional stem, each halving the picture; empty: one patch embedding"
    )
    stem_blocks: int = Field(default=0, ge=0, description="residual blocks after each convolution of the stem")
    ragged: bool = Field(
        default=False, description="take pictures whose size is no multiple of patch; their last pixels are not seen"
    )
    pool: Literal["mean", "class", "patches", "attention", "query"] = Field(
        default="mean",
        description="the picture's vector: the tokens' mean, a class token, the mean without the class token (CLIPA), "
        "an attention over them (SigLIP), or CoCa's",
    )
    norm_after_pool: bool = Field(
        default=False, description="with mean and patches, normalise the mean, not the tokens"
    )
    pool_width: int = Field(default=0, ge=0, description="with query, channels of the picture's vector")
    pool_heads: int = Field(default=8, ge=1, description="with query, attention heads; must divide pool_width")
    positions: Literal["learned", "sincos", "rotary"] = Field(
        default="learned", description="how tokens know where they are; the last two are fixed and fit any size"
    )
    pre_norm: bool = Field(default=False, description="a LayerNorm ahead of the first block, as in OpenAI's CLIP")
    patch_bias: bool = Field(default=True, description="whether the patch embedding has a bias; OpenAI's has none")
    patch_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of patches left out of each picture in training (arXiv 2212.00794)"
    )
    projection: Projection = "linear"
    transformer: TransformerConfig = TransformerConfig()

    @model_validator(mode="after")
    def _stem_fits_patch(self) -> "ViTConfig":
        if self.stem and self.patch % 2 ** len(self.stem):
            raise ValueError(f"patch {self.patch} is not divisible by {2 ** len(self.stem)}, the stride of the stem")
        return self

    @model_validator(mode="after")
    def _pool_has_what_it_needs(self) -> "ViTConfig":
        if (self.pool == "query") != bool(self.pool_width):
            raise ValueError(f"pool_width {self.pool_width} with pool {self.pool}: query, and no other, needs one")
        if self.pool == "query" and self.pool_width % self.pool_heads:
            raise ValueError(f"pool_width {self.pool_width} is not divisible by pool_heads {self.pool_heads}")
        if self.norm_after_pool and self.pool not in ("mean", "patches"):
            raise ValueError(f"norm_after_pool is for a mean of tokens, not for pool {self.pool}: leave it out")
        return self

    @property
    def has_class_token(self) -> bool:
        return self.pool in ("class", "patches", "query")

    @model_validator(mode="after")
    def _positions_fit_width(self) -> "ViTConfig":
        if self.positions == "rotary" and self.transformer.head_width % 4:
            raise ValueError(f"rotary positions: head width {self.transformer.head_width} is not divisible by 4")
        if self.positions == "sincos" and self.transformer.width % 4:
            raise ValueError(f"sincos positions: width {self.transformer.width} is not divisible by 4")
        return self


class ViT(nn.Module):
    """(B, 3, H, W) → (B, D)."""

    positions: Tensor | None
    rotation: Tensor | None

    def __init__(self, config: ViTConfig, image_size: int):
        super().__init__()
        self.config = config
        width, eps = config.transformer.width, config.transformer.norm_eps
        self.width = config.pool_width or width
        stem_channels = config.stem[-1] if config.stem else 3
        patch = config.patch // 2 ** len(config.stem)
        self.stem = ConvStem(config.stem, config.stem_blocks) if config.stem else nn.Identity()
        self.embed = nn.Conv2d(stem_channels, width, patch, stride=patch, bias=config.patch_bias)
        self.class_token = learned(width) if config.has_class_token else None
        self._make_positions(image_size // config.patch)
        self.norm_pre = _norm(config.transformer) if config.pre_norm else nn.Identity()
        self.transformer = Transformer(config.transformer)
        self.norm_post = _norm(config.transformer) if config.norm_after_pool else nn.Identity()
        if config.norm_after_pool or config.pool == "query":
            self.transformer.norm = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        self.pool = None
        if config.pool == "attention":
            self.pool = AttentionPool(config.transformer)
        if config.pool == "query":
            self.pool = QueryPool(width, self.width, config.pool_heads, eps)

    def _make_positions(self, grid: int) -> None:
        """A table to add, or rotations. A class token has a row of its own: learned, or one that changes nothing."""
        kind, own = self.config.positions, int(self.class_token is not None)
        width = self.config.transformer.width
        table = rotation = None
        if kind == "sincos":
            table = torch.cat([torch.zeros(own, width), sincos_2d(grid, width)])
        if kind == "rotary":
            turns = rotary_2d(grid, self.config.transformer.head_width)
            rotation = torch.cat([torch.tensor([1.0, 0.0]).expand(own, turns.shape[1], 2), turns])
        if kind == "learned":
            self.positions = learned(grid**2 + own, width)
        else:
            self.register_buffer("positions", table, persistent=False)
        self.register_buffer("rotation", rotation, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        x_BTD = self.embed(self.stem(images)).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x_BTD = torch.cat([self.class_token.expand(x_BTD.shape[0], 1, -1), x_BTD], dim=1)
        if self.positions is not None:
            x_BTD = x_BTD + self.positions
        rotation = self.rotation
        if self.training and self.config.patch_dropout:
            kept_BT = self._kept_tokens(x_BTD)
            x_BTD = x_BTD.gather(1, kept_BT[..., None].expand(-1, -1, x_BTD.shape[2]))
            rotation = rotation[kept_BT] if rotation is not None else None
        x_BTD = self.transformer(self.norm_pre(x_BTD), rotation=rotation)
        if self.pool is not None:
            return self.pool(x_BTD)
        if self.config.pool == "class":
            return x_BTD[:, 0]
        return self.norm_post(x_BTD[:, int(self.class_token is not None) :].mean(1))

    def _kept_tokens(self, x_BTD: Tensor) -> Tensor:
        """Numbers of the tokens that patch dropout leaves, others for each picture; the class token always stays."""
        first = int(self.class_token is not None)
        num_patches = x_BTD.shape[1] - first
        kept = max(1, round(num_patches * (1 - self.config.patch_dropout)))
        chosen = torch.rand(len(x_BTD), num_patches, device=x_BTD.device).topk(kept).indices + first
        return torch.cat([chosen.new_zeros(len(chosen), first), chosen], dim=1)


def _norm(config: TransformerConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=config.norm_eps)
