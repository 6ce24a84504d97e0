"""Damage to pictures: worse with severity, the same each time, and of the kind that its name says."""

import numpy as np
import pytest
from PIL import Image

from calligram.eval.corruptions import CORRUPTIONS, shrink
from calligram.eval.tasks.robustness import damages


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(40, 200, (22, 22, 3)), np.ones((3, 3, 1)))
    return Image.fromarray(pixels.astype(np.uint8))


def distance(a: Image.Image, b: Image.Image) -> float:
    assert a.size == b.size and b.mode == "RGB"
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean())


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_more_severe_is_worse(kind, picture):
    damaged = [CORRUPTIONS[kind](picture, severity, np.random.default_rng(0)) for severity in range(1, 6)]
    distances = [distance(picture, each) for each in damaged]
    assert 0 < distances[0] < distances[2] < distances[4]


def test_damage_is_the_same_each_time_and_another_for_each_picture(picture):
    for name in damages(0):
        first, again = (damages(0)[name](picture, 3) for _ in range(2))
        assert first.tobytes() == again.tobytes()
    noise = "gaussian_noise_severity_1"
    other_picture, other_seed = damages(0)[noise](picture, 4), damages(1)[noise](picture, 3)
    assert len({x.tobytes() for x in (damages(0)[noise](picture, 3), other_picture, other_seed)}) == 3
    assert len(damages(0)) == 1 + 6 * 3 + 3


def test_figures_of_the_paper_are_kept(picture):
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    rng = np.random.default_rng(0)
    noise = np.asarray(CORRUPTIONS["gaussian_noise"](grey, 1, rng), float).std() / 255
    assert noise == pytest.approx(0.08, rel=0.02)
    bright = np.asarray(CORRUPTIONS["brightness"](grey, 2, rng))
    assert bright.min() == bright.max() == 128 + 51  # 0.2 of 255
    flat = np.asarray(CORRUPTIONS["contrast"](picture, 5, rng), float).std((0, 1))
    assert flat == pytest.approx(0.05 * np.asarray(picture, float).std((0, 1)), abs=0.5)
    black = CORRUPTIONS["brightness"](Image.new("RGB", (4, 4)), 2, rng)
    assert np.asarray(black).min() == np.asarray(black).max() == 51


def test_fewer_pixels_hold_less(picture):
    assert 0 < distance(picture, shrink(picture, 2)) < distance(picture, shrink(picture, 8))
    assert shrink(Image.new("RGB", (5, 3)), 8).size == (5, 3)
