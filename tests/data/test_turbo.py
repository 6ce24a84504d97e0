"""JPEGs by turbo beside their slow twin, Pillow with every pixel decoded, and beside open_clip; on real photographs.

Differences are means of 255. Where nothing is scaled in the cosine transform they are rounding, below 0.02.
"""

import io
from collections.abc import Callable
from functools import cache

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resized_crop

from calligram.data import turbo
from calligram.data.decode import BadImage, decode_image, decode_square
from calligram.data.draws import Draws
from calligram.data.resize import has_grid, resize_box
from calligram.data.transforms import AugmentConfig, draw_box, train_square
from calligram.pictures import Box, cut, square, to_tensor, upright

ORIENTATION = 0x0112


@cache
def photograph(name: str = "china") -> Image.Image:
    """640 × 427 pixels."""
    return Image.fromarray(load_sample_images().images[("china", "flower").index(name)])


def jpeg(image: Image.Image, size: tuple[int, int] | None = None, orientation: int = 1, **options) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    scaled = image if size is None else image.resize(size, Image.Resampling.LANCZOS)
    scaled.save(buffer, "JPEG", exif=exif, **{"quality": 90, **options})
    return buffer.getvalue()


def slow_square(
    data: bytes, size: int, choose_box: Callable[[tuple[int, int]], Box | None] = lambda extent: None
) -> Tensor:
    """decode_square by Pillow alone, every pixel decoded."""
    image = upright(Image.open(io.BytesIO(data)))
    return to_tensor(cut(image, choose_box(image.size), size))


def mean_difference(a: Tensor, b: Tensor) -> float:
    """Of 255."""
    assert a.shape == b.shape and a.dtype == b.dtype
    return float(np.abs(a.numpy().astype(int) - b.numpy()).mean())


KINDS = {
    "quality 50": {"quality": 50},
    "quality 98": {"quality": 98},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:1:1": {"subsampling": "4:1:1"},
    "progressive": {"progressive": True},
}
SIZES = [(640, 427), (427, 640), (512, 512), (300, 200), (100, 75), (1000, 250)]
LARGE = [(1280, 960), (1601, 1201), (1201, 1601)]


@pytest.mark.parametrize("kind", KINDS)
def test_turbo_decodes_as_pillow_does(kind):
    data = jpeg(photograph(), **KINDS[kind])
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(decode_image(data)), np.asarray(image))
    assert mean_difference(decode_square(data, 224), slow_square(data, 224)) < 0.02


@pytest.mark.parametrize("name", ["china", "flower"])
@pytest.mark.parametrize("size", SIZES)
def test_without_scaling_the_squares_differ_by_rounding(size, name):
    data = jpeg(photograph(name), size)
    assert mean_difference(decode_square(data, 224), slow_square(data, 224)) < 0.02


@pytest.mark.parametrize("name", ["china", "flower"])
@pytest.mark.parametrize("size", LARGE)
def test_scaling_in_the_transform_is_not_seen(size, name):
    data = jpeg(photograph(name), size)
    difference = mean_difference(decode_square(data, 224), slow_square(data, 224))
    assert 0.02 < difference < 0.5  # the lower bound: it was scaled indeed


@pytest.mark.parametrize(
    ("side", "scale"), [(447, 1), (895, 1), (896, 2), (1791, 2), (1792, 4), (3583, 4), (3584, 8), (9000, 8)]
)
def test_at_least_twice_the_crop_remains(side, scale):
    assert turbo.scales((5, 0, 5 + side, 5000), 224)[0] == scale
    assert turbo.scales((0, 5, 5000, 5 + side), 224)[0] == scale


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("size", [(320, 213), (1001, 668)])
def test_crops_are_those_of_the_upright_picture(orientation, size):
    data = jpeg(photograph(), size, orientation)  # 9 is none: left as it is
    pixels = np.asarray(upright(Image.open(io.BytesIO(data))))
    assert np.array_equal(np.asarray(decode_image(data)), pixels)
    height, width, _ = pixels.shape
    for box in (None, (20, 10, 140, 130), (0, 0, 200, 150), (width - 201, height - 203, width, height)):
        fast, slow = (road(data, 100, lambda _, box=box: box) for road in (decode_square, slow_square))
        # the filter goes over rows first, and rounds: turned before or after makes 0.3; turned wrongly would be tens
        assert mean_difference(fast, slow) < 0.5


def test_a_grey_jpeg_has_three_equal_channels():
    data = jpeg(photograph().convert("L"), (1000, 900))
    x = decode_square(data, 112)
    assert torch.equal(x[0], x[1]) and torch.equal(x[0], x[2])
    assert mean_difference(x, slow_square(data, 112)) < 1  # to a quarter, and from there to a half


def test_random_crops_agree_with_the_slow_road():
    rng = np.random.default_rng(0)
    found = []
    for seed in range(40):
        size = tuple(int(side) for side in rng.integers(260, 1500, 2))
        data = jpeg(photograph(("china", "flower")[seed % 2]), size, int(rng.integers(1, 9)))
        config = AugmentConfig(min_crop=0.3) if seed % 4 < 2 else AugmentConfig(scale=(0.3, 1))
        fast = train_square(data, 112, config, Draws(seed))
        slow = slow_square(data, 112, lambda extent, c=config, s=seed: draw_box(extent, c, Draws(s)))
        found.append(mean_difference(fast, slow))
    assert np.mean(found) < 0.35 and max(found) < 1


@pytest.mark.parametrize("box", [(0, 0, 30, 30), (7, 9, 71.3, 80.1), (60.6, 20, 141.7, 101)])
def test_a_box_between_pixels_lies_where_pillow_has_it(box):
    image = photograph().crop((100, 100, 300, 270))
    assert has_grid(box, 37)

    def inner(x: Tensor) -> Tensor:  # at the rim one filter may see more than the other
        return x[:, 2:-2, 2:-2].contiguous()

    def pillow(shift: float) -> Tensor:
        moved = (box[0] + shift, box[1], box[2] + shift, box[3])
        return inner(to_tensor(image.resize((37, 37), Image.Resampling.BICUBIC, box=moved)))

    ours = inner(resize_box(np.array(image), box, 37))
    assert mean_difference(ours, pillow(0)) < 0.35
    assert mean_difference(ours, pillow((box[2] - box[0]) / 370)) > 1  # a tenth of a pixel would be seen


def test_a_crop_without_a_grid_is_decoded_in_full():
    """Odd corners and four pixels for one: in half the size all of them lie between the pixels."""
    data, box = jpeg(photograph(), (1281, 961)), (301, 51, 301 + 896, 51 + 896)
    assert not has_grid((150.5, 25.5, 598.5, 473.5), 224) and has_grid((150, 25, 598, 473), 224)
    assert mean_difference(decode_square(data, 224, lambda _: box), slow_square(data, 224, lambda _: box)) < 0.02


def test_the_header_alone_decides_on_size(monkeypatch):
    monkeypatch.setattr(turbo, "decode", lambda *_: pytest.fail("pixels were decoded"))
    with pytest.raises(BadImage, match="640 x 427 pixels, more than the 1,000 allowed") as error:
        decode_square(jpeg(photograph()), 224, max_pixels=1000)
    assert error.value.too_large


WHOLE = jpeg(photograph())
PROGRESSIVE = jpeg(photograph(), progressive=True)
DAMAGED = {
    "cut in the middle": WHOLE[: len(WHOLE) // 2],
    "without its end": WHOLE[:-2],
    "an end behind a half": WHOLE[: len(WHOLE) // 2] + b"\xff\xd9",
    "zeros inside": WHOLE[:30000] + bytes(2000) + WHOLE[32000:],
    "progressive, cut": PROGRESSIVE[: len(PROGRESSIVE) // 2],
    "progressive, an end behind a half": PROGRESSIVE[: len(PROGRESSIVE) // 2] + b"\xff\xd9",
    "the header alone": WHOLE[:700],
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_jpeg_of_which_a_part_is_lost_is_bad(data):
    """Pillow fills some of these with grey and says nothing."""
    for road in (decode_image, lambda data: decode_square(data, 224)):
        with pytest.raises(BadImage, match="damaged image"):
            road(data)


def test_what_lies_behind_the_end_is_no_damage():
    assert torch.equal(decode_square(WHOLE + bytes(1000), 64), decode_square(WHOLE, 64))


def test_what_turbo_does_not_know_is_left_to_pillow():
    unusual = bytearray(jpeg(photograph()))
    unusual[unusual.index(b"\xff\xc0") + 11] = 0x31  # three times the luminance: no subsampling that has a name
    assert mean_difference(decode_square(bytes(unusual), 64), slow_square(bytes(unusual), 64)) == 0


# the transform of the published CLIP models


MEAN, STD = (torch.tensor(v)[:, None, None] for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))


def open_clip_pixels(image: Image.Image) -> Tensor:
    """What open_clip's evaluation makes of a picture, its normalisation undone."""
    x = open_clip.image_transform(224, is_train=False)(image)
    assert isinstance(x, Tensor)
    return ((x * STD + MEAN) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("size", [*SIZES, *LARGE, (333, 500), (501, 376)])
def test_evaluation_is_open_clips(size):
    """Pixel for pixel on the slow road; 0.01 by turbo, up to 0.5 where it scales large photographs while decoding."""
    data = jpeg(photograph(), size)
    with Image.open(io.BytesIO(data)) as image:
        expected = open_clip_pixels(image)
        assert torch.equal(to_tensor(square(image, 224)), expected)
    assert mean_difference(decode_square(data, 224), expected) < (0.5 if size in LARGE else 0.02)


def test_training_crops_are_scaled_as_open_clip_scales_them():
    """The same box through torchvision's resized_crop, which is what RandomResizedCrop calls."""
    config = AugmentConfig(scale=(0.9, 1))
    for seed in range(8):
        data = jpeg(photograph(("china", "flower")[seed % 2]), (500, 400))
        box = draw_box((500, 400), config, Draws(seed))
        assert box is not None
        left, top, right, bottom = (int(place) for place in box)
        image = Image.open(io.BytesIO(data))
        crop = resized_crop(image, top, left, bottom - top, right - left, [224, 224], InterpolationMode.BICUBIC)
        ours = train_square(data, 224, config, Draws(seed))
        assert mean_difference(ours, to_tensor(crop)) < 0.02
