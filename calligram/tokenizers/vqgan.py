"""The image tokenizer of VQGAN (arXiv 2012.09841), so that its published weights can be used, and trained further.

# B batch, C channels of a code, h w the token grid
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from calligram.nn.image import to_float
from calligram.tokenizers.base import ImageTokenizer, Pass
from calligram.tokenizers.vqgan_layers import Codebook, VQGANDecoder, VQGANEncoder, straight_through


class VQGANConfig(BaseModel):
    """A VQGAN; the fields are those of taming-transformers' ``ddconfig``, by longer names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["vqgan"] = "vqgan"
    image_size: int = Field(default=256, ge=8, description="pixels a side")
    vocab_size: int = Field(default=1024, ge=2, description="codes in the codebook")
    code_dim: int = Field(default=256, ge=1, description="channels of a code")
    latent: int = Field(default=256, ge=1, description="channels that the encoder ends and the decoder begins with")
    width: int = Field(default=128, ge=32, description="channels of the first convolution")
    multipliers: tuple[int, ...] = Field(
        default=(1, 1, 2, 2, 4), description="channels of each stage over the width; the grid halves between stages"
    )
    num_blocks: int = Field(default=2, ge=1, description="residual blocks a stage")
    attention_at: tuple[int, ...] = Field(default=(16,), description="sides of grids whose stages have attention")
    commitment: float = Field(default=0.25, ge=0, description="weight of the latents' distance to their codes")

    @model_validator(mode="after")
    def _fits(self) -> "VQGANConfig":
        if not self.multipliers or any((self.width * m) % 32 for m in (1, *self.multipliers)):
            raise ValueError(f"width {self.width} times each of {self.multipliers} has to be divisible by 32")
        if self.image_size % self.factor:
            raise ValueError(
                f"image_size {self.image_size} is not divisible by {self.factor}, which {len(self.multipliers)} "
                f"multipliers make one token of"
            )
        return self

    @property
    def factor(self) -> int:
        """Pixels a side that become one token."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def grid(self) -> int:
        """Tokens a side."""
        return self.image_size // self.factor


class VQGANTokenizer(ImageTokenizer):
    """Pictures ⇄ image tokens of a VQGAN."""

    config: VQGANConfig

    def __init__(self, config: VQGANConfig):
        super().__init__()
        self.config = config
        channels = tuple(config.width * m for m in (1, *config.multipliers))
        attends = tuple(config.image_size // 2**i in config.attention_at for i in range(len(config.multipliers)))
        self.encoder = VQGANEncoder(channels, config.num_blocks, attends, config.latent)
        self.decoder = VQGANDecoder(channels, config.num_blocks, attends, config.latent)
        self.quantize = Codebook(config.vocab_size, config.code_dim)
        self.quant_conv = nn.Conv2d(config.latent, config.code_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.code_dim, config.latent, 1)

    def _latent(self, images: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(to_float(images) * 2 - 1)).float()

    def learn(self, images: Tensor) -> Pass:
        latent = self._latent(images)
        ids_Bhw = self.quantize.nearest(latent)
        codes = self.quantize(ids_Bhw)
        losses = {
            "codebook": F.mse_loss(codes, latent.detach()),
            "commitment": self.config.commitment * F.mse_loss(latent, codes.detach()),
        }
        pixels = self.decoder(self.post_quant_conv(straight_through(latent, codes)))
        return Pass((pixels + 1) / 2, ids_Bhw, losses if self.training else {})

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), uint8 or 0 … 1 → ids (B, N) in raster order, int64."""
        return self.quantize.nearest(self._latent(images)).flatten(1)

    @torch.no_grad()
    def decode(self, ids_BN: Tensor) -> Tensor:
        """ids (B, N) → pictures (B, 3, H, W), 0 … 1."""
        codes = self.quantize(ids_BN.unflatten(1, (self.grid, self.grid)))
        return ((self.decoder(self.post_quant_conv(codes)) + 1) / 2).clamp(0, 1)
