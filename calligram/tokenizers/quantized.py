"""An autoencoder with a quantiser in its middle: what FSQ, VQ and LFQ share.

# B batch, C latent channels, N = h * w tokens of a picture, h w the token grid
"""

from abc import abstractmethod
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from calligram.nn.image import to_float
from calligram.tokenizers.autoencoder import AnyAutoencoderConfig, build_decoder, build_encoder
from calligram.tokenizers.base import ImageTokenizer, Pass

Quantised = tuple[Tensor, Tensor, dict[str, Tensor]]  # codes (B, C, h, w), ids (B, h, w), losses


class OnGrid(Protocol):
    """A config with an encoder that folds squares of pixels into tokens."""

    @property
    def image_size(self) -> int: ...

    @property
    def autoencoder(self) -> AnyAutoencoderConfig: ...

    @property
    def grid(self) -> int: ...


Config = TypeVar("Config", bound=OnGrid)


def whole_grid(config: Config) -> Config:
    """Checks that the tokens cover the picture. Raises ValueError."""
    factor = config.autoencoder.factor
    if config.image_size % factor:
        of = "the autoencoder's patch"
        if config.autoencoder.type == "conv":
            of += " times 2 for each stage after the first"
        raise ValueError(f"image_size {config.image_size} is not divisible by {factor}, {of}")
    return config


class QuantizedAutoencoder(ImageTokenizer):
    """Encoder, quantiser, decoder; a kind of tokenizer adds the quantiser and what it does in training and use."""

    quantizer: Any

    def __init__(self, config: OnGrid, latent: int, quantizer: nn.Module):
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.autoencoder, latent, config.grid)
        self.quantizer = quantizer
        self.decoder = build_decoder(config.autoencoder, latent, config.grid)

    @abstractmethod
    def quantize(self, latent: Tensor) -> Quantised:
        """Latents (B, C, h, w) → the nearest codes, which pass gradients on, their ids, and losses in training."""

    @abstractmethod
    def codes(self, ids_Bhw: Tensor) -> Tensor:
        """ids → what the decoder reads, (B, C, h, w)."""

    def learn(self, images: Tensor) -> Pass:
        codes, ids_Bhw, losses = self.quantize(self.encoder(to_float(images) * 2 - 1))
        return Pass((self.decoder(codes) + 1) / 2, ids_Bhw, losses)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), uint8 or 0 … 1 → ids (B, N) in raster order, int64."""
        _, ids_Bhw, _ = self.quantize(self.encoder(to_float(images) * 2 - 1))
        return ids_Bhw.flatten(1).long()

    @torch.no_grad()
    def decode(self, ids_BN: Tensor) -> Tensor:
        """ids (B, N) → pictures (B, 3, H, W), 0 … 1."""
        codes = self.codes(ids_BN.unflatten(1, (self.grid, self.grid)))
        return ((self.decoder(codes) + 1) / 2).clamp(0, 1)
