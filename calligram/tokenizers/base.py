"""What every image tokenizer can do, and what one training pass through it gives.

# B batch, N = grid² tokens of a picture in raster order, h w the token grid, H W pixels
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn


@dataclass(frozen=True)
class Pass:
    """A batch of pictures, taken apart into tokens and put together again, with what training adds to the loss."""

    images: Tensor  # (B, 3, H, W), 0 … 1 but not clamped
    ids_Bhw: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)  # weighted already; their sum is added
    facts: dict[str, Tensor] = field(default_factory=dict)  # what else is worth a line in the metrics


class ImageTokenizer(nn.Module):
    """Pictures ⇄ image tokens. All that is around a tokenizer knows no more of it than this.

    Its config has ``type``, ``image_size`` (pixels a side), ``grid`` (tokens a side) and ``vocab_size``.
    """

    config: Any
    # whether ``learn`` says itself how likely a picture is, so that no error of its pixels has to be added
    has_likelihood: ClassVar[bool] = False

    @property
    def grid(self) -> int:
        """Tokens a side."""
        return self.config.grid

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), uint8 or 0 … 1 → ids (B, N) in raster order, int64."""

    @abstractmethod
    def decode(self, ids_BN: Tensor) -> Tensor:
        """ids (B, N) → pictures (B, 3, H, W), 0 … 1."""

    @abstractmethod
    def learn(self, images: Tensor) -> Pass:
        """(B, 3, H, W), uint8 or 0 … 1 → the way through the tokens and back, with gradients."""

    def at_step(self, step: int) -> None:
        """Told before each step of a training, from 0, where something follows a schedule."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W), uint8 or 0 … 1 → reconstruction, 0 … 1 but not clamped, and ids (B, h, w)."""
        found = self.learn(images)
        return found.images, found.ids_Bhw
