"""Any picture → upright, opaque, square: the one road by which pictures reach a model, in training and after it.

Or of its own aspect ratio, for models that read pictures of any.
"""

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from torch import Tensor

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
# between which the scale of a native picture is looked for, and when the search ends: SigLIP 2's
MIN_SCALE, MAX_SCALE, SCALE_STEP = 1e-6, 100.0, 1e-5


def upright(image: Image.Image) -> Image.Image:
    """RGB as a person sees it: turned as its EXIF data says, transparency laid on white."""
    return flatten(ImageOps.exif_transpose(image))


def flatten(image: Image.Image, background: str = "white") -> Image.Image:
    """Any picture as RGB, what is transparent in it laid on ``background``."""
    if image.mode.startswith("I;16"):  # 16 bits a pixel, which Pillow would clip to 8 rather than scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, background)
    canvas.alpha_composite(image.convert("RGBA"))
    return canvas.convert("RGB")


def square(image: Image.Image, size: int) -> Image.Image:
    """What a model reads of an RGB picture, as CLIP does: bicubic resize of the shorter side, then a centre crop.

    The same pixels as open_clip's transform has for the published models.
    """
    if image.size == (size, size):
        return image
    resized, (left, top) = _resize_and_crop(image.size, size)
    return image.resize(resized, Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))


def shrink_exactly(image: Image.Image, size: int) -> Image.Image | None:
    """A square whose every pixel was repeated, as it was before; None where it is no such picture."""
    times = image.width // size
    if image.width != image.height or times * size != image.width:
        return None
    pixels = np.asarray(image)
    small = pixels[::times, ::times]
    if not np.array_equal(small.repeat(times, 0).repeat(times, 1), pixels):
        return None
    return Image.fromarray(np.ascontiguousarray(small))


def centre_box(extent: tuple[int, int], size: int) -> Box:
    """What :func:`square` keeps of a picture of ``extent`` (width, height)."""
    resized, corner = _resize_and_crop(extent, size)
    starts = [place * side / whole for place, side, whole in zip(corner, extent, resized, strict=True)]
    stops = [(place + size) * side / whole for place, side, whole in zip(corner, extent, resized, strict=True)]
    return starts[0], starts[1], stops[0], stops[1]


@lru_cache(maxsize=1024)  # pictures often have one of few sizes
def native_size(extent: tuple[int, int], patch: int, max_patches: int) -> tuple[int, int]:
    """(width, height) in whole patches for a picture of ``extent``, which keeps its aspect ratio as nearly as they can.

    The largest at which no more than ``max_patches`` cover it: NaFlex's rule (arXiv 2502.14786), and its numbers.
    """
    low, high = MIN_SCALE, MAX_SCALE
    while high - low >= SCALE_STEP:
        scale = (low + high) / 2
        width, height = _whole_patches(extent, patch, scale)
        fits = (height / patch) * (width / patch) <= max_patches
        low, high = (scale, high) if fits else (low, scale)
    return _whole_patches(extent, patch, low)


def _whole_patches(extent: tuple[int, int], patch: int, scale: float) -> tuple[int, int]:
    width, height = (max(patch, math.ceil(side * scale / patch) * patch) for side in extent)
    return width, height


def _resize_and_crop(extent: tuple[int, int], size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) after the resize, and the (left, top) of the crop, rounded as torchvision does."""
    width, height = (size * side // min(extent) for side in extent)
    return (width, height), (round((width - size) / 2), round((height - size) / 2))


def cut(image: Image.Image, box: Box | None, size: int) -> Image.Image:
    """A box of whole pixels, scaled to the model's square as if there were nothing beyond it; None: :func:`square`."""
    if box is None:
        return square(image, size)
    left, top, right, bottom = (round(place) for place in box)
    return image.crop((left, top, right, bottom)).resize((size, size), Image.Resampling.BICUBIC)


def to_tensor(image: Image.Image) -> "Tensor":
    """RGB picture → uint8 (3, H, W)."""
    import torch  # here, since data can be made without waiting for it

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def to_image(image_uint8: "Tensor") -> Image.Image:
    """uint8 (3, H, W) → RGB picture."""
    return Image.fromarray(image_uint8.permute(1, 2, 0).contiguous().cpu().numpy())
