import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from calligram.data.draws import Draws
from calligram.data.transforms import AugmentConfig, draw_box, train_transform
from calligram.pictures import to_tensor

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
IMAGE = Image.fromarray(PIXELS)
TENSOR = to_tensor(IMAGE)


def transformed(seed: int, size: int = 12, image: Image.Image = IMAGE, **options) -> torch.Tensor:
    return train_transform(image, size, AugmentConfig(**options), Draws(seed))


def test_without_augmentation_nothing_is_random():
    assert torch.equal(transformed(0), TENSOR)
    assert torch.equal(transformed(1), TENSOR)


ALL_ON = {"flip": True, "min_crop": 0.5, "shift": 3}


@pytest.mark.parametrize("options", [ALL_ON, {"flip": True}, {"min_crop": 0.5}, {"shift": 3}])
def test_the_generator_decides_alone(options):
    different = {transformed(seed, **options).numpy().tobytes() for seed in range(20)}
    assert len(different) > 1
    for seed in range(5):
        assert torch.equal(transformed(seed, **options), transformed(seed, **options))


def test_a_flip_mirrors_every_other_picture_left_to_right():
    found = [transformed(seed, flip=True) for seed in range(100)]
    mirrored = [torch.equal(x, TENSOR.flip(2)) for x in found]
    assert all(torch.equal(x, TENSOR) for x, flipped in zip(found, mirrored, strict=True) if not flipped)
    assert 30 < sum(mirrored) < 70


def test_a_shift_moves_by_whole_pixels_and_repeats_the_edge():
    seen = set()
    for seed in range(300):
        x = transformed(seed, shift=2)
        found = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if torch.equal(x, shifted(dy, dx))]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 25


def shifted(dy: int, dx: int) -> torch.Tensor:
    rows, columns = (torch.arange(12) + dy).clamp(0, 11), (torch.arange(12) + dx).clamp(0, 11)
    return TENSOR[:, rows][:, :, columns]


def test_a_crop_keeps_at_least_the_share_that_is_asked_for():
    """A picture whose columns count up: what is left of the range is the crop's share of the side."""
    ramp = Image.fromarray(np.tile(np.arange(100, dtype=np.uint8)[None, :, None], (100, 1, 3)))
    spans = [int(x.max()) - int(x.min()) for x in (transformed(s, 50, ramp, min_crop=0.6) for s in range(60))]
    assert 56 <= min(spans) < 70 and 85 < max(spans) <= 99


def test_a_crop_of_a_wide_picture_is_not_squeezed():
    """Discs of diameter 15 in a row: at twice the size each is as wide as it is high."""
    y, x = np.mgrid[:40, :120]
    discs = sum(((x - centre) ** 2 + (y - 20) ** 2 < 64).astype(np.uint8) for centre in range(10, 120, 20)) * 255
    image = Image.fromarray(np.repeat(discs[..., None], 3, 2))
    for seed in range(10):
        bright = transformed(seed, 80, image, min_crop=0.99)[0] > 127
        widths = [len(run) for run in "".join("x" if b else " " for b in bright.any(0).tolist()).split()]
        assert int(bright.any(1).sum()) == pytest.approx(30, abs=2)
        assert max(widths) == pytest.approx(30, abs=2)


@pytest.mark.parametrize("extent", [(640, 427), (300, 900), (200, 100)])
@pytest.mark.parametrize("scale", [(0.9, 1.0), (0.08, 1.0)])
def test_crops_by_area_are_drawn_as_torchvision_draws_them(extent, scale):
    """RandomResizedCrop is what open_clip trains with; also where a picture is too long for most crops."""
    width, height = extent
    config, draws = AugmentConfig(scale=scale), Draws(0)
    boxes = [draw_box(extent, config, draws) for _ in range(3000)]
    ours = np.array([(t, left, b - t, r - left) for left, t, r, b in boxes])
    torch.manual_seed(0)
    blank = torch.empty(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(blank, list(scale), [3 / 4, 4 / 3]) for _ in range(3000)])
    for i in range(4):
        assert ks_2samp(ours[:, i], theirs[:, i]).pvalue > 1e-3
    assert (ours >= 0).all() and (ours[:, 0] + ours[:, 2] <= height).all() and (ours[:, 1] + ours[:, 3] <= width).all()


@pytest.mark.parametrize(
    "fields",
    [
        {"min_crop": 0},
        {"min_crop": 1.1},
        {"shift": -1},
        {"rotate": 3},
        {"scale": (0.9, 1.1)},
        {"scale": (1, 0.9)},
        {"ratio": (0, 1)},
        {"scale": (0.9, 1), "min_crop": 0.5},
    ],
)
def test_wrong_configs_are_refused(fields):
    with pytest.raises(ValidationError):
        AugmentConfig(**fields)
