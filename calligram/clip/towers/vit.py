"""Our Vision Transformer (arXiv 2010.11929): picture → vector.

# B batch, T tokens, N tokens of all pictures of a row, D width, h x w patches, K head width
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from calligram.clip.towers.projection import Projection
from calligram.nn.eager import eager
from calligram.nn.image import ConvStem
from calligram.nn.mask import FULL, Mask, one_query_each
from calligram.nn.packed import firsts
from calligram.nn.pictures import Pictures
from calligram.nn.pool import AttentionPool, QueryPool, packed_means
from calligram.nn.positions import Grid, interpolate_positions, rotary_2d, sincos_2d
from calligram.nn.transformer import Read, Transformer, TransformerConfig, learned


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
    def num_class_tokens(self) -> int:
        return int(self.pool in ("class", "patches", "query"))

    @model_validator(mode="after")
    def _positions_fit_width(self) -> "ViTConfig":
        if self.positions == "rotary" and self.transformer.head_width % 4:
            raise ValueError(f"rotary positions: head width {self.transformer.head_width} is not divisible by 4")
        if self.positions == "sincos" and self.transformer.width % 4:
            raise ValueError(f"sincos positions: width {self.transformer.width} is not divisible by 4")
        return self


class ViT(nn.Module):
    """(B, 3, H, W), or pictures (3, H, W) of several sizes → (B, D).

    Several sizes go through as one row of tokens, each picture at its own (arXiv 2307.06304): no padding, nothing is
    cut off. Their sides are multiples of ``patch``, unless the config says ``ragged``.
    """

    positions: Tensor | None
    rotation: Tensor | None

    def __init__(self, config: ViTConfig, image_size: int):
        super().__init__()
        self.config = config
        width, eps = config.transformer.width, config.transformer.norm_eps
        self.width = config.pool_width or width
        self.grid = (image_size // config.patch, image_size // config.patch)
        stem_channels = config.stem[-1] if config.stem else 3
        patch = config.patch // 2 ** len(config.stem)
        self.stem = ConvStem(config.stem, config.stem_blocks) if config.stem else nn.Identity()
        self.embed = nn.Conv2d(stem_channels, width, patch, stride=patch, bias=config.patch_bias)
        self.class_token = learned(width) if config.num_class_tokens else None
        table, rotation = fixed_places(config, self.grid)
        if config.positions == "learned":
            self.positions = learned(math.prod(self.grid) + config.num_class_tokens, width)
        else:
            self.register_buffer("positions", table, persistent=False)
        self.register_buffer("rotation", rotation, persistent=False)
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

    def forward(self, images: Tensor | Pictures | Sequence[Tensor]) -> Tensor:
        if not isinstance(images, Tensor):
            return self._packed(images if isinstance(images, Pictures) else Pictures.of(images))
        x_BTD, rotation = self._tokens(images)
        is_class = self.config.pool == "class"
        read = Read(torch.zeros(1, dtype=torch.long, device=x_BTD.device), FULL) if is_class else None
        x_BTD = self.transformer(self.norm_pre(x_BTD), rotation=rotation, read=read)
        if self.pool is not None:
            return self.pool(x_BTD)
        if is_class:
            return x_BTD[:, 0]
        return self.norm_post(x_BTD[:, self.config.num_class_tokens :].mean(1))

    def _packed(self, pictures: Pictures) -> Tensor:
        x_1ND, rotation, mask = self._row(pictures)
        read = self._class_tokens(mask, x_1ND.device) if self.config.pool == "class" else None
        x_1ND = self.transformer(self.norm_pre(x_1ND), mask=mask, rotation=rotation, read=read)
        return (x_1ND[0] if read is not None else self._pooled(x_1ND, mask))[pictures.place_B]

    # what is compiled would be compiled anew for each set of sizes; around these two N is the one size that varies
    @eager
    def _row(self, pictures: Pictures) -> tuple[Tensor, Tensor | None, Mask]:
        """The tokens of all pictures one behind the other in one row, and what keeps them apart."""
        rows, rotations, seqlens = [], [], []
        for images in pictures.groups:
            self._check(images)
            x_BTD, rotation = self._tokens(images)
            rows.append(x_BTD.flatten(0, 1))
            seqlens += [x_BTD.shape[1]] * len(x_BTD)
            if rotation is not None:
                rotations.append(rotation.expand(*x_BTD.shape[:2], -1, -1).flatten(0, 1))
        rotation = torch.cat(rotations) if rotations else None
        return torch.cat(rows)[None], rotation, Mask(seqlens=tuple(seqlens))

    @eager
    def _class_tokens(self, mask: Mask, device: torch.device) -> Read:
        assert mask.seqlens is not None
        return Read(firsts(mask.seqlens).to(device), one_query_each(mask.seqlens))

    @eager
    def _pooled(self, x_1ND: Tensor, mask: Mask) -> Tensor:
        assert mask.seqlens is not None
        if self.pool is not None:
            return self.pool(x_1ND, mask.seqlens)
        return self.norm_post(packed_means(x_1ND[0], mask.seqlens, self.config.num_class_tokens))

    def _tokens(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, T, D) with positions, and the rotations of those tokens; without those that patch dropout takes out."""
        cells_BDhw = self.embed(self.stem(images))
        positions, rotation = self._places((cells_BDhw.shape[2], cells_BDhw.shape[3]))
        x_BTD = cells_BDhw.flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x_BTD = torch.cat([self.class_token.expand(x_BTD.shape[0], 1, -1), x_BTD], dim=1)
        if positions is not None:
            x_BTD = x_BTD + positions
        if self.training and self.config.patch_dropout:
            kept_BT = self._kept_tokens(x_BTD)
            x_BTD = x_BTD.gather(1, kept_BT[..., None].expand(-1, -1, x_BTD.shape[2]))
            rotation = rotation[kept_BT] if rotation is not None else None
        return x_BTD, rotation

    def _places(self, grid: Grid) -> tuple[Tensor | None, Tensor | None]:
        """A table to add and rotations for a picture of so many patches."""
        if grid == self.grid:
            return self.positions, self.rotation
        if self.config.positions == "learned":
            assert self.positions is not None
            own, cells = self.positions.tensor_split([self.config.num_class_tokens])
            return torch.cat([own, interpolate_positions(cells, self.grid, grid)]), None
        table, rotation = fixed_places(self.config, grid)
        device = self.embed.weight.device
        return table if table is None else table.to(device), rotation if rotation is None else rotation.to(device)

    def _check(self, images: Tensor) -> None:
        height, width = images.shape[2:]
        patch = self.config.patch
        if min(height, width) < patch or (not self.config.ragged and (height % patch or width % patch)):
            raise ValueError(f"a picture of {width} x {height} pixels: its sides must be multiples of patch {patch}")

    def _kept_tokens(self, x_BTD: Tensor) -> Tensor:
        """Numbers of the tokens that patch dropout leaves, others for each picture; the class token always stays."""
        first = self.config.num_class_tokens
        num_patches = x_BTD.shape[1] - first
        kept = max(1, round(num_patches * (1 - self.config.patch_dropout)))
        chosen = torch.rand(len(x_BTD), num_patches, device=x_BTD.device).topk(kept).indices + first
        return torch.cat([chosen.new_zeros(len(chosen), first), chosen], dim=1)


def fixed_places(config: ViTConfig, grid: Grid) -> tuple[Tensor | None, Tensor | None]:
    """Sines to add, or rotations; neither where positions are learned. A class token's own change nothing."""
    own = config.num_class_tokens
    if config.positions == "sincos":
        return torch.cat([torch.zeros(own, config.transformer.width), sincos_2d(grid, config.transformer.width)]), None
    if config.positions == "rotary":
        turns = rotary_2d(grid, config.transformer.head_width)
        return None, torch.cat([torch.tensor([1.0, 0.0]).expand(own, turns.shape[1], 2), turns])
    return None, None


def _norm(config: TransformerConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=config.norm_eps)
