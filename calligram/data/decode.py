"""Bytes of a picture file → an upright RGB picture, or a square of it.

JPEGs go through libjpeg-turbo, everything else through Pillow. Both give the same pixels in full size.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from calligram.data import jpeg_header, turbo
from calligram.data.orientation import Orientation
from calligram.data.picture_file import FORMATS
from calligram.pictures import Box, centre_box, cut, to_tensor, upright

if TYPE_CHECKING:
    from torch import Tensor

EXTENSIONS = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif")
MAX_PIXELS = 100_000_000


class BadImage(ValueError):
    """Not a picture that can be read; the message says why."""

    def __init__(self, message: str, too_large: bool = False):
        super().__init__(message)
        self.too_large = too_large


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode to RGB: EXIF orientation applied, alpha laid on white, the first frame of an animation.

    Raises BadImage for anything unreadable, for a JPEG of which a part is lost, and for pictures of more than
    ``max_pixels``, which are refused by their header, before any memory is spent on them.
    """
    with _bad_images():
        if jpeg := _read_jpeg(data, max_pixels):
            size, orientation = jpeg
            pixels = turbo.decode(data, size)
            if pixels is not None:
                return Image.fromarray(orientation.turn_array(pixels))
        return upright(_open(data, max_pixels))


def picture_size(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(width, height) of the upright picture, by its header alone. Raises BadImage as :func:`decode_image` does."""
    with _bad_images():
        size, orientation = _read_jpeg(data, max_pixels) or _read_header(_open(data, max_pixels))
        return orientation.upright_size(size)


def decode_square(
    data: bytes,
    size: int,
    choose_box: Callable[[tuple[int, int]], Box | None] = lambda extent: None,
    max_pixels: int = MAX_PIXELS,
) -> "Tensor":
    """The square that a model reads, uint8 (3, size, size), with no more decoded than it takes.

    ``choose_box`` is given (width, height) of the upright picture, which the header tells, and says what of it becomes
    the square; None for the centre, as in evaluation. Raises BadImage as :func:`decode_image` does.
    """
    from calligram.data.resize import has_grid, resize_box  # here, since data can be made without waiting for torch

    with _bad_images():
        jpeg = _read_jpeg(data, max_pixels)
        if jpeg is None:
            image = upright(_open(data, max_pixels))
            return to_tensor(cut(image, choose_box(image.size), size))
        stored_size, orientation = jpeg
        extent = orientation.upright_size(stored_size)
        box = choose_box(extent)
        stored = orientation.stored_box(box or centre_box(extent, size), extent)
        boxes = {scale: _shrunk(stored, scale) for scale in turbo.scales(stored, size)}
        scale = next(scale for scale, box in boxes.items() if scale == 1 or has_grid(box, size))
        pixels = turbo.decode(data, stored_size, scale)
        if pixels is None:
            return to_tensor(cut(upright(_open(data, max_pixels)), box, size))
        return orientation.turn_tensor(resize_box(pixels, boxes[scale], size))


def _read_jpeg(data: bytes, max_pixels: int) -> tuple[tuple[int, int], Orientation] | None:
    """Size as stored and orientation of a JPEG that turbo shows as Pillow does; None for everything else."""
    if not data.startswith(jpeg_header.START):
        return None
    size = jpeg_header.read_size(data)
    if size is None:
        image = _open(data, max_pixels)
        return _read_header(image) if turbo.is_plain(image) else None
    _check_pixels(size, max_pixels)
    return size, Orientation()


def _read_header(image: Image.Image) -> tuple[tuple[int, int], Orientation]:
    return image.size, Orientation.of(image)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        # a shard may be a stranger's: only decoders that do nothing but decode
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    _check_pixels(image.size, max_pixels)
    return image


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise BadImage(f"{width} x {height} pixels, more than the {max_pixels:,} allowed", True)


def _shrunk(box: Box, scale: int) -> Box:
    left, top, right, bottom = box
    return left / scale, top / scale, right / scale, bottom / scale


@contextmanager
def _bad_images() -> Iterator[None]:
    """Whatever a decoder raises, as BadImage."""
    try:
        yield
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(str(error), True) from None
    except UnidentifiedImageError:
        raise BadImage("not an image in a known format") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, … on damaged files
        raise BadImage(f"damaged image: {error}") from None
