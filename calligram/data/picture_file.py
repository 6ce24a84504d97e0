"""Picture files as people have them: which are usable, and how one becomes part of a data set."""

import io
import warnings
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, features

from calligram.errors import UserError
from calligram.pictures import upright

# the decoders that are let near a stranger's file; Pillow's full list has some that start other programs
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
if "avif" in features.modules and features.check("avif"):  # Pillow's wheels have it from 11.3 on
    FORMATS, SUFFIXES = (*FORMATS, "AVIF"), SUFFIXES | {".avif"}
# formats whose bytes may stay as they are; MPO is a JPEG with further pictures behind it, as telephones write it
KEPT = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
JPEG_QUALITY = 95


def pad_to_square(image: Image.Image, size: int, background: str = "white") -> Image.Image:
    """An RGB picture scaled to fit ``size`` × ``size`` pixels, in the middle of a square of ``background``."""
    if image.size == (size, size):
        return image
    return ImageOps.pad(image, (size, size), Image.Resampling.LANCZOS, color=background)


def why_unusable(path: Path, max_pixels: int) -> str | None:
    """What is wrong with a picture file, None where nothing is; quick, since most pixels stay undecoded."""
    try:
        with _open(path) as image:
            if image.width * image.height > max_pixels:
                return f"{image.width} × {image.height} pixels, over max_pixels {max_pixels}"
            if image.mode in ("I", "F"):  # no known range, so no right way to show it
                return f"pixels of mode {image.mode!r}, which have no fixed range"
            kind = image.format
            image.verify()
        # verify() sees what is wrong with these two; of a JPEG the end tells, of others only decoding
        if kind not in ("PNG", "WEBP") and not (kind in ("JPEG", "MPO") and _ends_as_jpeg(path)):
            with _open(path) as image:
                image.load()
    except Exception as error:  # decoders raise nearly anything on nearly anything
        return _explain(error)
    return None


def read_picture(path: Path, max_size: int) -> tuple[Image.Image | bytes, str]:
    """A picture for a shard and its extension, upright, with at most ``max_size`` pixels on the shorter side.

    A JPEG, PNG or WebP file that is so already stays byte for byte; else it is written anew, a JPEG as JPEG.
    """
    try:
        data = path.read_bytes()
        with _open(io.BytesIO(data)) as image:
            extension = KEPT.get(image.format or "", "png")
            if min(image.size) > max_size:
                # a JPEG decodes faster at half or quarter size; twice the wanted size keeps the scaling fine
                image.draft(None, _shrunk(image.size, 2 * max_size))
            elif image.format in KEPT and _is_plain(image):
                image.load()  # only to see that it can be read
                return data, extension
            picture = upright(image)
    except Exception as error:
        raise UserError(f"{path} cannot be decoded ({_explain(error)}): mend or remove it") from error
    if min(picture.size) > max_size:
        picture = picture.resize(_shrunk(picture.size, max_size), Image.Resampling.LANCZOS)
    if extension != "jpg":
        return picture, "png"
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue(), "jpg"


def _open(source: Path | io.BytesIO) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels is our word on that
        return Image.open(source, formats=FORMATS)


def _is_plain(image: Image.Image) -> bool:
    """True for an opaque, upright still in 8-bit grey or RGB: what every decoder shows alike."""
    is_still = image.format == "MPO" or not getattr(image, "is_animated", False)
    is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    return image.mode in ("L", "RGB") and not image.has_transparency_data and is_still and is_upright


def _shrunk(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    scale = shorter / min(size)
    return round(size[0] * scale), round(size[1] * scale)


def _ends_as_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read().rstrip(b"\0").endswith(b"\xff\xd9")


def _explain(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture in a format that is read here"
    return " ".join(str(error).split()) or type(error).__name__
