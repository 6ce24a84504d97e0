"""DALL-E's discrete variational autoencoder (arXiv 2102.12092): the tokens are a categorical latent variable.

In training each place has a soft choice of codes (Gumbel-softmax, arXiv 1611.01144) that hardens with the steps; in use
it has the most likely one. The loss is the negative evidence lower bound, in nats a pixel value: the likelihood of the
pixels under a logit-Laplace distribution, and the divergence of the choice from an even one.

# B batch, V vocabulary, h w the token grid, H W pixels
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from calligram.nn.image import to_float
from calligram.tokenizers.base import ImageTokenizer, Pass
from calligram.tokenizers.dvae_layers import DVAEDecoder, DVAEEncoder

EPSILON = 0.1  # pixels are mapped to 0.1 … 0.9, since a logit has no value at 0 and 1


class DVAEConfig(BaseModel):
    """A dVAE; the paper's has image_size 256, width 256, decoder_stem 128, 4 groups of 2 blocks and 8,192 codes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["dvae"] = "dvae"
    image_size: int = Field(default=64, ge=8, description="pixels a side")
    vocab_size: int = Field(default=1024, ge=2, description="codes")
    width: int = Field(default=32, ge=4, description="channels of the finest group; each coarser one has twice as many")
    decoder_stem: int = Field(default=64, ge=1, description="channels that the decoder makes of the codes")
    num_groups: int = Field(default=4, ge=1, description="groups of blocks; the grid halves between two of them")
    num_blocks: int = Field(default=1, ge=1, description="residual blocks a group")
    final_temperature: float = Field(default=1 / 16, gt=0, le=1, description="of the soft choice, which begins at 1")
    temperature_steps: int = Field(default=150_000, ge=1, description="steps of the cosine from 1 to it")
    kl_weight: float = Field(default=6.6, ge=0, description="of the divergence from an even choice; 1: the exact bound")
    kl_steps: int = Field(default=5000, ge=1, description="steps in which that weight grows from 0")

    # what is narrower than two of 256 values are apart (0.0125 as logits) says nothing of the picture
    min_log_scale: float = Field(
        default=-4.0,
        description="lower bound of a pixel's ln b: without one, a background of one colour is rewarded without end",
    )

    @model_validator(mode="after")
    def _fits(self) -> "DVAEConfig":
        if self.image_size % self.factor:
            raise ValueError(
                f"image_size {self.image_size} is not divisible by {self.factor}, which num_groups "
                f"{self.num_groups} makes one token of"
            )
        if self.width % 4:
            raise ValueError(f"width {self.width} is not divisible by 4, as its bottlenecks need")
        return self

    @property
    def factor(self) -> int:
        """Pixels a side that become one token."""
        return 2 ** (self.num_groups - 1)

    @property
    def grid(self) -> int:
        """Tokens a side."""
        return self.image_size // self.factor

    def temperature(self, step: int) -> float:
        """Of the soft choice at a step, from 0."""
        done = min(1.0, step / self.temperature_steps)
        return self.final_temperature + (1 - self.final_temperature) * (1 + math.cos(math.pi * done)) / 2

    def kl_weight_at(self, step: int) -> float:
        return self.kl_weight * min(1.0, step / self.kl_steps)


class DVAETokenizer(ImageTokenizer):
    """Pictures ⇄ image tokens of a dVAE."""

    config: DVAEConfig
    has_likelihood = True
    temperature: Tensor
    kl_weight: Tensor

    def __init__(self, config: DVAEConfig):
        super().__init__()
        self.config = config
        sizes = (config.width, config.num_groups, config.num_blocks, config.vocab_size)
        self.encoder = DVAEEncoder(*sizes)
        self.decoder = DVAEDecoder(*sizes, config.decoder_stem)
        # tensors, so that a compiled step need not be compiled again for each of their values
        self.register_buffer("temperature", torch.tensor(1.0), persistent=False)
        self.register_buffer("kl_weight", torch.tensor(0.0), persistent=False)

    def at_step(self, step: int) -> None:
        self.temperature.fill_(self.config.temperature(step))
        self.kl_weight.fill_(self.config.kl_weight_at(step))

    def learn(self, images: Tensor) -> Pass:
        pixels = map_pixels(to_float(images))
        logits = self.encoder(pixels).float()
        shares = _soft_choice(logits, self.temperature) if self.training else _one_hot(logits)
        places, log_scales = self.decoder(shares).float().chunk(2, dim=1)
        divergence = kl_to_uniform(logits)
        nats = negative_log_likelihood(pixels, places, log_scales, self.config.min_log_scale)
        # both a pixel value: a token stands for so many of them
        values = 3 * self.config.factor**2
        return Pass(
            unmap_pixels(places.sigmoid()),
            logits.argmax(1),
            {"likelihood": nats, "kl": self.kl_weight * divergence / values},
            {"nats": nats.detach(), "kl_nats": divergence.detach(), "temperature": self.temperature.clone()},
        )

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), uint8 or 0 … 1 → the most likely ids (B, N) in raster order, int64."""
        return self.encoder(map_pixels(to_float(images))).argmax(1).flatten(1)

    @torch.no_grad()
    def decode(self, ids_BN: Tensor) -> Tensor:
        """ids (B, N) → pictures (B, 3, H, W), 0 … 1: the median of each pixel's distribution."""
        places, _ = self.decoder.from_ids(ids_BN.unflatten(1, (self.grid, self.grid))).float().chunk(2, dim=1)
        return unmap_pixels(places.sigmoid()).clamp(0, 1)


def map_pixels(images: Tensor) -> Tensor:
    """0 … 1 → ε … 1 − ε."""
    return (1 - 2 * EPSILON) * images + EPSILON


def unmap_pixels(pixels: Tensor) -> Tensor:
    """The other way; not clamped."""
    return (pixels - EPSILON) / (1 - 2 * EPSILON)


def negative_log_likelihood(pixels: Tensor, places: Tensor, log_scales: Tensor, lowest: float = -4.0) -> Tensor:
    """Of pixels in ε … 1 − ε under logit-Laplace distributions, in nats, the mean over all their values.

    The density at x is exp(−|logit x − μ| / b) / (2 b x (1 − x)); ``log_scales`` are ln b before they are
    softly bounded by ``lowest``.
    """
    log_scales = lowest + F.softplus(log_scales - lowest)
    distance = (torch.logit(pixels) - places).abs()
    nats = distance * (-log_scales).exp() + log_scales + math.log(2) + pixels.log() + (1 - pixels).log()
    return nats.mean()


def kl_to_uniform(logits: Tensor) -> Tensor:
    """Divergence of the choice among V codes, (B, V, h, w), from an even one, in nats a token.

    The mean over tokens and pictures, so that a larger batch does not weigh it more.
    """
    log_q = logits.log_softmax(1)
    return (log_q.exp() * (log_q + math.log(logits.shape[1]))).sum(1).mean()


def _soft_choice(logits: Tensor, temperature: Tensor) -> Tensor:
    """Shares of codes (B, V, h, w), which are a draw from the choice as the temperature goes to 0."""
    gumbel = -torch.empty_like(logits).exponential_().log()
    return ((logits + gumbel) / temperature).softmax(1)


def _one_hot(logits: Tensor) -> Tensor:
    return torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
