"""Bytes of a picture file → an upright RGB picture."""

import io
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

EXTENSIONS = ("png", "jpg", "jpeg", "webp")
MAX_PIXELS = 100_000_000


class BadImage(ValueError):
    """Not a picture that can be read; the message says why."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode to RGB: EXIF orientation applied, alpha laid on white, the first frame of an animation.

    Raises BadImage for anything unreadable and for pictures of more than ``max_pixels``, which are
    refused by their header, before any memory is spent on them.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > max_pixels:
                raise BadImage(f"{image.width} x {image.height} pixels, more than the {max_pixels:,} allowed")
            image = ImageOps.exif_transpose(image)
            return flatten(image)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("not an image in a known format") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, … on damaged files
        raise BadImage(f"damaged image: {error}") from None


def flatten(image: Image.Image, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """Any mode → RGB, transparency laid on a background."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (*background, 255))
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")


def to_tensor(image: Image.Image) -> Tensor:
    """RGB picture → uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def to_image(image_uint8: Tensor) -> Image.Image:
    """uint8 (3, H, W) → RGB picture."""
    return Image.fromarray(image_uint8.permute(1, 2, 0).contiguous().cpu().numpy())
