import io
import zlib

import numpy as np
import pytest
from PIL import Image

from calligram.data.decode import BadImage, decode_image

PIXELS = np.add.outer(np.add.outer(np.arange(20) * 6, np.arange(30) * 4), [0, 5, 10]).astype(np.uint8)


def encoded(format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 95})])
def test_every_format_of_a_shard_is_read(format, options):
    image = decode_image(encoded(format, **options))
    assert image.mode == "RGB" and image.size == (30, 20)
    tolerance = 2 if format == "JPEG" else 0
    assert np.abs(np.asarray(image).astype(int) - PIXELS).mean() <= tolerance


def test_the_first_frame_of_an_animation_is_taken():
    second = Image.fromarray(255 - PIXELS)
    image = decode_image(encoded("WEBP", lossless=True, save_all=True, append_images=[second]))
    assert np.array_equal(np.asarray(image), PIXELS)


BROKEN = {"empty": b"", "text": b"no picture", "cut PNG": encoded("PNG")[:60], "cut JPEG": encoded("JPEG")[:300]}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_a_bad_image(data):
    with pytest.raises(BadImage, match=r"damaged image|not an image in a known format"):
        decode_image(data)


def test_decoders_that_start_other_programs_are_not_asked():
    """Pillow hands EPS to Ghostscript, whatever the member is called."""
    assert Image.open(io.BytesIO(encoded("EPS"))).format == "EPS"
    with pytest.raises(BadImage, match="not an image in a known format"):
        decode_image(encoded("EPS"))


def test_too_many_pixels_are_refused_by_the_header():
    with pytest.raises(BadImage, match="30 x 20 pixels, more than the 599 allowed"):
        decode_image(encoded("PNG"), max_pixels=599)
    assert decode_image(encoded("PNG"), max_pixels=600).size == (30, 20)
    huge = bytearray(encoded("PNG"))
    huge[16:24] = (60_000).to_bytes(4, "big") * 2  # the header's width and height, beyond Pillow's own limit
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    with pytest.raises(BadImage, match="pixels"):
        decode_image(bytes(huge))
