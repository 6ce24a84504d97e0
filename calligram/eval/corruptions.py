"""Pictures as bad cameras and networks leave them: six kinds of ImageNet-C (arXiv 1903.12261), and fewer pixels.

Severities are that paper's for pictures of 224 pixels a side; lengths in pixels are scaled to smaller ones.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

SEVERITIES = (1, 3, 5)
SIDE = 224  # pixels of ImageNet-C's pictures
RESOLUTIONS = (2, 4, 8)  # by how much both sides shrink

Corruption = Callable[[Image.Image, int, np.random.Generator], Image.Image]


def gaussian_noise(image: Image.Image, severity: int, rng: np.random.Generator) -> Image.Image:
    deviation = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    pixels = _pixels(image)
    return _image(pixels + rng.normal(scale=deviation, size=pixels.shape))


def gaussian_blur(image: Image.Image, severity: int, rng: np.random.Generator) -> Image.Image:
    radius = (1, 2, 3, 4, 6)[severity - 1] * min(image.size) / SIDE
    return image.filter(ImageFilter.GaussianBlur(radius))


def contrast(image: Image.Image, severity: int, rng: np.random.Generator) -> Image.Image:
    share = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    pixels = _pixels(image)
    middle = pixels.mean((0, 1), keepdims=True)
    return _image((pixels - middle) * share + middle)


def brightness(image: Image.Image, severity: int, rng: np.random.Generator) -> Image.Image:
    """More of HSV's value: all three channels grow by one factor."""
    more = (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    pixels = _pixels(image)
    value = pixels.max(2, keepdims=True)
    brighter = np.clip(value + more, 0, 1)
    # black has no hue of its own and becomes grey
    return _image(np.where(value > 0, pixels * brighter / np.where(value > 0, value, 1), brighter))


def jpeg(image: Image.Image, severity: int, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=(25, 18, 15, 10, 7)[severity - 1])
    with Image.open(file) as found:
        return found.convert("RGB")


def pixelate(image: Image.Image, severity: int, rng: np.random.Generator) -> Image.Image:
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    small = image.resize(_scaled(image, share), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)


CORRUPTIONS: dict[str, Corruption] = {
    each.__name__: each for each in (gaussian_noise, gaussian_blur, contrast, brightness, jpeg, pixelate)
}


def shrink(image: Image.Image, times: int) -> Image.Image:
    """As if it had been taken with fewer pixels: scaled down and up again."""
    return image.resize(_scaled(image, 1 / times), Image.Resampling.BICUBIC).resize(
        image.size, Image.Resampling.BICUBIC
    )


def _scaled(image: Image.Image, share: float) -> tuple[int, int]:
    width, height = (max(1, round(side * share)) for side in image.size)
    return width, height


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float64) / 255


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))
