"""The two encoders of CLIP (arXiv 2103.00020): picture → vector, text → vector.

# B batch, T tokens, D width, E embedding
"""

from typing import Annotated, Any, Literal

import timm
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from calligram.errors import UserError
from calligram.nn.image import ConvStem
from calligram.nn.packed import Packing
from calligram.nn.shift import TokenShift
from calligram.nn.timm_attention import use_our_attention
from calligram.nn.transformer import Transformer, TransformerConfig, learned
from calligram.tokenizers.text import trim_to_longest


class ViTConfig(BaseModel):
    """Vision Transformer (arXiv 2010.11929); mean pooling over its tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["vit"] = "vit"
    patch: int = Field(default=16, ge=1, description="pixels a side of one token")
    stem: tuple[int, ...] = Field(
        default=(), description="channels of a convolutional stem, each halving the picture; empty: one patch embedding"
    )
    stem_blocks: int = Field(default=0, ge=0, description="residual blocks after each convolution of the stem")
    transformer: TransformerConfig = TransformerConfig()

    @model_validator(mode="after")
    def _stem_fits_patch(self) -> "ViTConfig":
        if self.stem and self.patch % 2 ** len(self.stem):
            raise ValueError(f"patch {self.patch} is not divisible by {2 ** len(self.stem)}, the stride of the stem")
        return self


class TimmConfig(BaseModel):
    """Any image model of the timm library, without its classifier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["timm"] = "timm"
    name: str = Field(description="name in timm, e.g. resnet18")
    pretrained: bool = Field(default=False, description="download timm's weights")


ImageTowerConfig = Annotated[ViTConfig | TimmConfig, Field(discriminator="type")]


class TextTowerConfig(BaseModel):
    """Causal text Transformer; the output at the end token is the text's vector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    context_length: int = Field(default=32, ge=3, description="tokens a text may have, start and end included")
    token_shift: int = Field(
        default=0, ge=0, description="how many of the tokens before it a text token takes in ahead of the first layer"
    )
    transformer: TransformerConfig = TransformerConfig()


class ViT(nn.Module):
    """(B, 3, H, W) → (B, D)."""

    def __init__(self, config: ViTConfig, image_size: int):
        super().__init__()
        self.width = config.transformer.width
        stem_channels = config.stem[-1] if config.stem else 3
        patch = config.patch // 2 ** len(config.stem)
        self.stem = ConvStem(config.stem, config.stem_blocks) if config.stem else nn.Identity()
        self.embed = nn.Conv2d(stem_channels, self.width, patch, stride=patch)
        self.positions = learned((image_size // config.patch) ** 2, self.width)
        self.transformer = Transformer(config.transformer)

    def forward(self, images: Tensor) -> Tensor:
        x_BTD = self.embed(self.stem(images)).flatten(2).transpose(1, 2) + self.positions
        return self.transformer(x_BTD).mean(1)


class TimmTower(nn.Module):
    """(B, 3, H, W) → (B, D), through a model of timm."""

    def __init__(self, config: TimmConfig, image_size: int):
        super().__init__()
        if not timm.is_model(config.name):
            raise UserError(f"timm has no model {config.name!r}: see timm.list_models()")
        # convolutions take any size; Transformers must be told, since their tables of positions depend on it
        known = timm.get_pretrained_cfg(config.name)
        size: dict[str, Any] = {"img_size": image_size} if known and known.fixed_input_size else {}
        model: Any = timm.create_model(config.name, pretrained=config.pretrained, num_classes=0, **size)
        use_our_attention(model)
        self.model: nn.Module = model
        # a few models have one more layer between their features and what they return
        self.width: int = getattr(model, "head_hidden_size", model.num_features)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


class TextTower(nn.Module):
    """Token ids (B, T) → (B, D)."""

    def __init__(self, config: TextTowerConfig, vocab_size: int, end_id: int):
        super().__init__()
        self.width = config.transformer.width
        self.end_id = end_id
        self.embed = nn.Embedding(vocab_size, self.width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.shift = TokenShift(self.width, config.token_shift) if config.token_shift else nn.Identity()
        self.positions = learned(config.context_length, self.width, std=0.01)
        self.transformer = Transformer(config.transformer, causal=True)

    def forward(self, text_BT: Tensor) -> Tensor:
        # The mask is causal and only the end token is read: what lies behind it cannot matter.
        end_B = (text_BT == self.end_id).int().argmax(1)
        packing = Packing.of(end_B + 1, causal=True)
        if packing.pays(self.width):
            return self._packed(text_BT, packing)
        return self._trimmed(trim_to_longest(text_BT, self.end_id), end_B)

    def _packed(self, text_BT: Tensor, packing: Packing) -> Tensor:
        """All texts in one row, which ends where their words do."""
        x_ND = self.embed(text_BT[packing.row_N, packing.position_N])
        if isinstance(self.shift, TokenShift):
            x_ND = self.shift(x_ND, packing.position_N)
        x_ND = x_ND + self.positions[packing.position_N]
        return self.transformer(x_ND[None], mask=packing.mask)[0, packing.last_B]

    def _trimmed(self, text_BT: Tensor, end_B: Tensor) -> Tensor:
        """A row a text, all as long as the longest."""
        x_BTD = self.transformer(self.shift(self.embed(text_BT)) + self.positions[: text_BT.shape[1]])
        return x_BTD[torch.arange(len(x_BTD), device=x_BTD.device), end_B]


def build_image_tower(config: ImageTowerConfig, image_size: int) -> ViT | TimmTower:
    return ViT(config, image_size) if isinstance(config, ViTConfig) else TimmTower(config, image_size)
