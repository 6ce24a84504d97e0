"""One road for all pictures: what training sees is what the models are asked about later."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from calligram.data.decode import decode_image
from calligram.data.draws import Draws
from calligram.data.transforms import AugmentConfig, train_transform
from calligram.nn.image import stack_images
from calligram.pictures import flatten, native_size, shrink_exactly, square, to_image, to_tensor, upright


def pixels(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    return exif


PICTURES = {
    "opaque": encoded(Image.fromarray(pixels(30, 50))),
    "transparent": encoded(Image.fromarray(pixels(30, 50, 4))),
    "turned": encoded(Image.fromarray(pixels(30, 50)), "JPEG", exif=turned_exif()),
    "palette": encoded(Image.fromarray(pixels(30, 50)).convert("P"), transparency=3),
    "16 bits": encoded(Image.fromarray(np.arange(1500, dtype=np.uint16).reshape(30, 50) * 40)),
    "square": encoded(Image.fromarray(pixels(16, 16))),
}


@pytest.mark.parametrize("name", PICTURES)
def test_training_and_classification_see_the_same_pixels(name):
    data = PICTURES[name]
    seen_in_training = train_transform(decode_image(data), 16, AugmentConfig(), Draws(0))
    seen_by_classify = stack_images([Image.open(io.BytesIO(data))], 16)[0]
    assert seen_in_training.shape == (3, 16, 16)
    assert torch.equal(seen_in_training, seen_by_classify)


def test_upright_turns_as_exif_says():
    image = Image.fromarray(pixels(3, 5))
    image.getexif()[0x0112] = 6
    assert np.array_equal(np.asarray(upright(image)), np.rot90(pixels(3, 5), -1))


def test_transparency_lies_on_the_background():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    assert [flatten(image).getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (255, 0, 0)]
    assert flatten(image, "black").getpixel((0, 0)) == (0, 0, 0)


def test_sixteen_bit_grey_is_scaled_rather_than_clipped():
    image = Image.fromarray(np.array([[0, 0x7FFF, 0xFFFF]], dtype=np.uint16))
    assert [flatten(image).getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]


def test_square_keeps_the_middle():
    """A wide picture whose left, middle and right thirds differ: only the middle is left."""
    wide = np.concatenate([np.full((20, 20, 3), value, np.uint8) for value in (10, 120, 240)], 1)
    assert (np.asarray(square(Image.fromarray(wide), 20)) == 120).all()
    smaller = square(Image.fromarray(wide), 8)
    assert smaller.size == (8, 8) and np.asarray(smaller)[:, 2:6].min() == np.asarray(smaller)[:, 2:6].max() == 120


def test_tensors_and_pictures_are_each_others_inverse():
    x = torch.from_numpy(pixels(4, 6)).permute(2, 0, 1)
    assert torch.equal(to_tensor(to_image(x)), x)


@pytest.mark.parametrize("patch", [14, 16, 8])
@pytest.mark.parametrize("max_patches", [1, 7, 256, 1024])
def test_native_sizes_are_those_of_siglip_2(patch, max_patches):
    from transformers.models.siglip2.image_processing_siglip2 import get_image_size_for_max_num_patches

    rng = np.random.default_rng(max_patches)
    sides = [(1, 1), (1, 5000), (16, 16), (3, 7), (4000, 3000), (224, 224), *rng.integers(1, 3000, (150, 2)).tolist()]
    for width, height in sides:
        expected = get_image_size_for_max_num_patches(height, width, patch, max_patches)
        assert native_size((width, height), patch, max_patches) == expected[::-1]


def test_a_native_picture_is_as_large_as_its_patches_allow_and_keeps_its_aspect_ratio():
    for extent in ((640, 480), (480, 640), (1000, 333), (65, 64)):
        width, height = native_size(extent, 16, 256)
        assert width % 16 == height % 16 == 0
        assert 200 < (width // 16) * (height // 16) <= 256
        assert width / height == pytest.approx(extent[0] / extent[1], rel=0.12)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_picture_whose_pixels_were_repeated_is_found_as_it_was(times):
    small = Image.fromarray(pixels(16, 16))
    large = small.resize((16 * times, 16 * times), Image.Resampling.NEAREST)
    found = shrink_exactly(large, 16)
    assert found is not None and found.tobytes() == small.tobytes()


def test_other_pictures_are_not_shrunk():
    large = Image.fromarray(pixels(16, 16)).resize((32, 32), Image.Resampling.NEAREST)
    assert shrink_exactly(large.resize((32, 32), Image.Resampling.BICUBIC), 12) is None
    large.putpixel((31, 31), (1, 2, 3))
    assert shrink_exactly(large, 16) is None
    assert shrink_exactly(Image.fromarray(pixels(16, 32)), 16) is None
    assert shrink_exactly(Image.fromarray(pixels(8, 8)), 16) is None
