"""Bytes of a picture file → an upright RGB picture."""

import io
import warnings

from PIL import Image, UnidentifiedImageError

from calligram.data.picture_file import FORMATS
from calligram.pictures import upright

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
            # a shard may be a stranger's: only decoders that do nothing but decode
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > max_pixels:
                raise BadImage(f"{image.width} x {image.height} pixels, more than the {max_pixels:,} allowed")
            return upright(image)
    except (BadImage, Image.DecompressionBombError) as error:
        raise BadImage(str(error)) from None
    except UnidentifiedImageError:
        raise BadImage("not an image in a known format") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, … on damaged files
        raise BadImage(f"damaged image: {error}") from None
