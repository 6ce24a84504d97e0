"""Pictures as tensors: uint8 (B, 3, H, W) outside the models, floats of a stated range inside."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from calligram.pictures import square, to_tensor, upright


class ConvStem(nn.Module):
    """A few strided convolutions instead of one large patch (arXiv 2106.14881): easier to optimise.

    Each entry of ``channels`` halves the picture and, where ``blocks`` is above 0, refines it with
    residual 3 × 3 convolutions. (B, 3, H, W) → (B, channels[-1], H / 2ⁿ, W / 2ⁿ).
    """

    def __init__(self, channels: tuple[int, ...], blocks: int = 0):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels), channels, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.GELU()]
            layers += [BatchNormResidual(after) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class BatchNormResidual(nn.Module):
    """Two 3 × 3 convolutions with batch normalisation, added to their input (arXiv 1512.03385)."""

    def __init__(self, channels: int):
        super().__init__()
        last_norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(last_norm.weight)  # starts as the identity
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            last_norm,
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.gelu(x + self.layers(x))


def to_float(images_uint8: Tensor) -> Tensor:
    """uint8 0 … 255 → float 0 … 1; floats pass unchanged."""
    return images_uint8.float() / 255 if images_uint8.dtype == torch.uint8 else images_uint8


def to_uint8(images: Tensor) -> Tensor:
    """float 0 … 1 → uint8 0 … 255, clamped and rounded; the same map for every picture of a batch."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def stack_images(images: Tensor | Sequence[Image.Image], size: int) -> Tensor:
    """Pictures of any size and mode → uint8 (B, 3, size, size) as training saw them; a tensor passes unchanged."""
    if isinstance(images, Tensor):
        if images.ndim != 4 or images.shape[1:] != (3, size, size):
            raise ValueError(f"images of shape {tuple(images.shape)}: the model reads (B, 3, {size}, {size})")
        return images
    return torch.stack([to_tensor(square(upright(image), size)) for image in images])
