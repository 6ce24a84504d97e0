import io

import numpy as np
import pytest
from PIL import Image

from calligram.data.jpeg_header import read_size


def jpeg(mode: str = "RGB", size: tuple[int, int] = (40, 30), **options) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": "x" * 300}, {"icc_profile": b"x" * 70_000}])
def test_plain_jpegs_tell_their_size(mode, options):
    assert read_size(jpeg(mode, **options)) == (40, 30)


@pytest.mark.parametrize(
    "data",
    [
        jpeg("CMYK"),
        jpeg(exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00"),
        jpeg(xmp=b"<x/>"),
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\x00\x00" * 50,
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
    ids=["cmyk", "exif", "xmp", "empty", "start", "no length", "png"],
)
def test_whatever_needs_a_second_look_is_left_to_pillow(data):
    assert read_size(data) is None


def test_what_is_cut_off_before_its_pixels_is_left_to_pillow():
    data = jpeg()
    pixels = data.index(b"\xff\xda")
    assert read_size(data[: pixels + 10]) == (40, 30)
    assert {read_size(data[:length]) for length in range(pixels)} == {None}


def test_it_agrees_with_pillow_or_says_nothing_whatever_bytes_are_spoilt():
    """Where it names a size, turbo is asked to make it so; a wrong one must not get past Pillow's."""
    whole, rng = jpeg(), np.random.default_rng(0)
    header = whole.index(b"\xff\xda")
    told = 0
    for _ in range(2_000):
        data = bytearray(whole)
        data[int(rng.integers(0, header))] = int(rng.integers(0, 256))
        size = read_size(bytes(data))
        if size is None:
            continue
        told += 1
        try:
            with Image.open(io.BytesIO(data)) as image:
                assert image.size == size
        except (OSError, SyntaxError):
            pass  # refused there; turbo refuses it, too, or decodes what is left of it
    assert told > 1_000
