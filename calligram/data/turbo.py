"""JPEGs by libjpeg-turbo, at a half, a quarter or an eighth of their size where that cannot be seen.

Scaling is part of turbo's cosine transform and saves most of its work. What is left is scaled down by a filter at
least twice more, so that the difference to a full decode is below what JPEG itself loses.
"""

import re

import numpy as np
import simplejpeg
from PIL import Image

from calligram.pictures import Box

SCALES = (8, 4, 2)  # those for which turbo has vector instructions
SPARE = 2  # a scaled crop keeps at least so many times the pixels that are wanted, along each side
# What libjpeg-turbo says of files of which a part is lost; it would fill that with grey. Bytes too many before the end
# (0xd9) are no loss.
DAMAGE = re.compile(r"premature end|bad (huffman|arithmetic) code|found marker|bytes before marker 0x(?!d9)", re.I)


def is_plain(image: Image.Image) -> bool:
    """True for an opened JPEG in grey or colour, which turbo shows as Pillow does; CMYK is Pillow's."""
    return image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")


def scales(box: Box, size: int) -> list[int]:
    """By what the sides of a picture may be divided whose ``box`` becomes ``size`` pixels square, largest first."""
    left, top, right, bottom = box
    side = min(right - left, bottom - top)
    return [scale for scale in SCALES if side >= scale * SPARE * size] + [1]


def decode(data: bytes, size: tuple[int, int], scale: int = 1) -> np.ndarray | None:
    """uint8 (H, W, 3), as stored: not yet upright. None for what turbo does not know but Pillow may.

    ``size`` is (width, height) by the header. Raises ValueError where a part of the picture is lost.
    """
    width, height = (-(-side // scale) for side in size)
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, min_factor=scale)
    except ValueError as error:
        if DAMAGE.search(str(error)):
            raise
        return None
    return pixels if pixels.shape == (height, width, 3) else None
