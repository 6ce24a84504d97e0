"""Image tokenizer with finite scalar quantisation (FSQ, arXiv 2309.15505).

Each latent channel is squashed and rounded to a few levels; the token is the number that the rounded
channels spell. There is no codebook to learn, so none to collapse.

# B batch, N = h * w tokens of a picture, h w the token grid
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from vector_quantize_pytorch import FSQ

from calligram.nn.image import to_float
from calligram.tokenizers.autoencoder import AutoencoderConfig, Decoder, Encoder


def _at_least_three(levels: tuple[int, ...]) -> tuple[int, ...]:
    if not levels or min(levels) < 3:
        raise ValueError(f"levels {levels}: name at least one channel, each with 3 levels or more")
    return levels


class FSQConfig(BaseModel):
    """An FSQ image tokenizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["fsq"] = "fsq"
    image_size: int = Field(default=64, ge=8, description="pixels a side")
    levels: Annotated[tuple[int, ...], AfterValidator(_at_least_three)] = Field(
        default=(8, 5, 5, 5), description="levels of each latent channel; their product is the vocabulary"
    )
    autoencoder: AutoencoderConfig = AutoencoderConfig()

    @model_validator(mode="after")
    def _grid_is_whole(self) -> "FSQConfig":
        if self.image_size % self.autoencoder.factor:
            raise ValueError(
                f"image_size {self.image_size} is not divisible by {self.autoencoder.factor}, "
                "the autoencoder's patch times 2 for each stage after the first"
            )
        return self

    @property
    def vocab_size(self) -> int:
        return math.prod(self.levels)

    @property
    def grid(self) -> int:
        """Tokens a side."""
        return self.image_size // self.autoencoder.factor


class FSQTokenizer(nn.Module):
    """Pictures ⇄ image tokens. ``encode`` and ``decode`` are the protocol that every image tokenizer keeps."""

    def __init__(self, config: FSQConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.autoencoder, len(config.levels))
        self.quantizer = FSQ(levels=list(config.levels))
        self.decoder = Decoder(config.autoencoder, len(config.levels))

    @property
    def grid(self) -> int:
        return self.config.grid

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W), uint8 or 0 … 1 → reconstruction, 0 … 1 but not clamped, and ids (B, h, w)."""
        codes, ids_Bhw = self.quantizer(self.encoder(to_float(images) * 2 - 1))
        return (self.decoder(codes) + 1) / 2, ids_Bhw

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), uint8 or 0 … 1 → ids (B, N) in raster order, int64."""
        _, ids_Bhw = self.quantizer(self.encoder(to_float(images) * 2 - 1))
        return ids_Bhw.flatten(1).long()

    @torch.no_grad()
    def decode(self, ids_BN: Tensor) -> Tensor:
        """ids (B, N) → pictures (B, 3, H, W), 0 … 1."""
        codes = self.quantizer.indices_to_codes(ids_BN.unflatten(1, (self.grid, self.grid)))
        return ((self.decoder(codes) + 1) / 2).clamp(0, 1)
