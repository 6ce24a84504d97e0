"""EXIF orientation without moving all pixels: a crop is found in the picture as stored, and only the result is turned.

Boxes are (left, top, right, bottom) in pixels.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from calligram.pictures import Box

if TYPE_CHECKING:
    from torch import Tensor


class Orientation(NamedTuple):
    """How a stored picture becomes upright: rows and columns change places first, then it is mirrored."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, image: Image.Image) -> "Orientation":
        return ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1), cls())

    def upright_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the upright picture."""
        return (size[1], size[0]) if self.transpose else size

    def stored_box(self, box: Box, upright_size: tuple[int, int]) -> Box:
        """Where a box of the upright picture lies in the stored one."""
        (left, top, right, bottom), (width, height) = box, upright_size
        if self.flip_x:
            left, right = width - right, width - left
        if self.flip_y:
            top, bottom = height - bottom, height - top
        return (top, left, bottom, right) if self.transpose else (left, top, right, bottom)

    def turn_tensor(self, x: "Tensor") -> "Tensor":
        """A stored (3, H, W) made upright."""
        x = x.transpose(1, 2) if self.transpose else x
        flipped = [axis for axis, flip in ((1, self.flip_y), (2, self.flip_x)) if flip]
        return x.flip(flipped) if flipped else x

    def turn_array(self, x: np.ndarray) -> np.ndarray:
        """A stored (H, W, 3) made upright."""
        x = x.swapaxes(0, 1) if self.transpose else x
        return x[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


# by the value of the tag; 1, and whatever else is not in here, is upright
ORIENTATIONS = {
    2: Orientation(flip_x=True),
    3: Orientation(flip_x=True, flip_y=True),
    4: Orientation(flip_y=True),
    5: Orientation(transpose=True),
    6: Orientation(transpose=True, flip_x=True),
    7: Orientation(transpose=True, flip_x=True, flip_y=True),
    8: Orientation(transpose=True, flip_y=True),
}
