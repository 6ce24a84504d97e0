"""The convolutional encoder and decoder on either side of a quantiser.

# B batch, C channels, H W pixels, h w the latent grid
"""

import math
from typing import Annotated, Any, Literal

import torch.nn.functional as F
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor, nn

from calligram.nn.transformer import Transformer, TransformerConfig, learned


class AutoencoderConfig(BaseModel):
    """Size of the encoder and decoder: a patch embedding, then stages that halve the grid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # not written down: runs that are older than the other kind have the fingerprint of a config without it
    type: Literal["conv"] = Field(default="conv", exclude=True)
    patch: int = Field(default=4, ge=1, description="pixels of a side that the first convolution folds into one cell")
    channels: tuple[int, ...] = Field(default=(48, 96), description="channels of each stage; every later one halves")
    num_blocks: int = Field(default=2, ge=0, description="residual blocks a stage")

    @property
    def factor(self) -> int:
        """Pixels a side that become one token."""
        return self.patch * 2 ** (len(self.channels) - 1)


class ViTAutoencoderConfig(BaseModel):
    """Size of an encoder and a decoder that are Vision Transformers (arXiv 2110.04627)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["vit"] = "vit"
    patch: int = Field(default=8, ge=1, description="pixels a side that become one token")
    transformer: TransformerConfig = TransformerConfig()

    @property
    def factor(self) -> int:
        """Pixels a side that become one token."""
        return self.patch


def _conv_unless_told(values: Any) -> Any:
    return {"type": "conv", **values} if isinstance(values, dict) else values


AnyAutoencoderConfig = Annotated[
    AutoencoderConfig | ViTAutoencoderConfig, Field(discriminator="type"), BeforeValidator(_conv_unless_told)
]


class ConvResidual(nn.Module):
    """Group norm, 3 × 3 and 1 × 1 convolution, added to their input; starts as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(channels, max(1, channels // 16)), channels)  # about 16 channels a group
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, channels, 1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_out(F.gelu(self.conv_in(self.norm(x))))


class Encoder(nn.Module):
    """(B, 3, H, W) in −1 … 1 → (B, latent, h, w)."""

    def __init__(self, config: AutoencoderConfig, latent: int):
        super().__init__()
        channels = config.channels
        layers: list[nn.Module] = [nn.Conv2d(3, channels[0], config.patch, stride=config.patch)]
        for stage, width in enumerate(channels):
            if stage:
                layers.append(nn.Conv2d(channels[stage - 1], width, 4, stride=2, padding=1))
            layers += [ConvResidual(width) for _ in range(config.num_blocks)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], latent, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Decoder(nn.Module):
    """(B, latent, h, w) → (B, 3, H, W), unbounded; the mirror of the encoder."""

    def __init__(self, config: AutoencoderConfig, latent: int):
        super().__init__()
        channels = config.channels[::-1]
        layers: list[nn.Module] = [nn.Conv2d(latent, channels[0], 1)]
        for stage, width in enumerate(channels):
            if stage:
                layers += [nn.Conv2d(channels[stage - 1], width * 4, 1), nn.PixelShuffle(2)]
            layers += [ConvResidual(width) for _ in range(config.num_blocks)]
        hidden = 4 * channels[-1]  # pixels of a cell are no linear function of a few channels: edges cut anywhere
        layers += [nn.Conv2d(channels[-1], hidden, 3, padding=1), nn.GELU()]
        layers += [nn.Conv2d(hidden, 3 * config.patch**2, 1), nn.PixelShuffle(config.patch)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ViTEncoder(nn.Module):
    """(B, 3, H, W) in −1 … 1 → (B, latent, h, w)."""

    def __init__(self, config: ViTAutoencoderConfig, latent: int, grid: int):
        super().__init__()
        width = config.transformer.width
        self.embed = nn.Conv2d(3, width, config.patch, stride=config.patch)
        self.positions = learned(grid**2, width)
        self.transformer = Transformer(config.transformer)
        self.out = nn.Linear(width, latent)

    def forward(self, x: Tensor) -> Tensor:
        embedded = self.embed(x)
        x_BND = self.transformer(embedded.flatten(2).transpose(1, 2) + self.positions)
        return self.out(x_BND).transpose(1, 2).unflatten(2, embedded.shape[2:])


class ViTDecoder(nn.Module):
    """(B, latent, h, w) → (B, 3, H, W), unbounded."""

    def __init__(self, config: ViTAutoencoderConfig, latent: int, grid: int):
        super().__init__()
        width = config.transformer.width
        self.embed = nn.Linear(latent, width)
        self.positions = learned(grid**2, width)
        self.transformer = Transformer(config.transformer)
        self.out = nn.Linear(width, 3 * config.patch**2)
        self.patch = config.patch

    def forward(self, x: Tensor) -> Tensor:
        x_BND = self.transformer(self.embed(x.flatten(2).transpose(1, 2)) + self.positions)
        return F.pixel_shuffle(self.out(x_BND).transpose(1, 2).unflatten(2, x.shape[2:]), self.patch)


def build_encoder(config: AnyAutoencoderConfig, latent: int, grid: int) -> nn.Module:
    if isinstance(config, ViTAutoencoderConfig):
        return ViTEncoder(config, latent, grid)
    return Encoder(config, latent)


def build_decoder(config: AnyAutoencoderConfig, latent: int, grid: int) -> nn.Module:
    if isinstance(config, ViTAutoencoderConfig):
        return ViTDecoder(config, latent, grid)
    return Decoder(config, latent)
