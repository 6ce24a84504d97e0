import io
import zlib

import numpy as np
import pytest
from PIL import Image, features

from calligram.data.decode import BadImage, decode_image, decode_square
from calligram.pictures import square, to_tensor

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


def test_the_first_frame_of_an_animated_gif_is_taken():
    buffer = io.BytesIO()
    first, second = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))
    first.save(buffer, "GIF", save_all=True, append_images=[second])
    assert decode_image(buffer.getvalue()).getcolors() == [(600, (255, 0, 0))]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read_where_pillow_reads_it():
    assert np.abs(np.asarray(decode_image(encoded("AVIF", quality=95))).astype(int) - PIXELS).mean() <= 2


def saved(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_palettes_become_colours_and_transparency_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert [decode_image(saved(palette)).getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (0, 0, 255)]
    see_through = decode_image(saved(palette, transparency=1))
    assert [see_through.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]
    assert decode_image(saved(Image.new("RGBA", (1, 1), (0, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)
    assert decode_image(saved(Image.new("LA", (1, 1), (0, 128)))).getpixel((0, 0)) == (127, 127, 127)


def test_sixteen_bits_are_scaled_to_eight():
    deep = Image.fromarray(np.array([[0, 0x7FFF, 0xFFFF]], np.uint16))
    for format in ("PNG", "TIFF"):
        assert [decode_image(saved(deep, format)).getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]


def test_a_cmyk_jpeg_has_the_colours_of_paper():
    cyan = decode_image(saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG"))
    assert np.abs(np.asarray(cyan).astype(int) - (0, 255, 255)).max() < 5


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_square_of_all_but_a_jpeg_is_pillows(format):
    data = encoded(format)
    assert np.array_equal(decode_square(data, 16), to_tensor(square(decode_image(data), 16)))


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
