"""Pictures are prepared as those prepared them who trained a model: pixel by pixel, for files of every mode."""

import io
import random
from functools import cache

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from sklearn.datasets import load_sample_images
from transformers import CLIPImageProcessor, SiglipImageProcessor

from calligram.clip.preprocess import PreprocessConfig, prepare
from calligram.nn.image import stack_images

NUM_FILES = 200
SIZE = 32
FORMATS = (
    *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
    *(("PNG", mode) for mode in ("RGB", "L", "LA", "P", "RGBA", "1", "I;16", "P+transparency")),
)


@cache
def files() -> list[tuple[str, bytes]]:
    """Cuts of two photographs in odd sizes, saved in every mode."""
    rng = random.Random(0)
    photographs = [Image.fromarray(x) for x in load_sample_images().images]
    made = []
    for number in range(NUM_FILES):
        kind, mode = FORMATS[number % len(FORMATS)]
        photograph = rng.choice(photographs)
        width, height = rng.randint(20, 301), rng.randint(20, 301)
        left, top = rng.randrange(photograph.width - width), rng.randrange(photograph.height - height)
        image = in_mode(photograph.crop((left, top, left + width, top + height)), mode)
        file = io.BytesIO()
        options = {"transparency": 3} if mode == "P+transparency" else {}
        image.save(file, kind, **options)
        made.append((f"{kind} {mode}", file.getvalue()))
    return made


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200)
    if mode in ("LA", "RGBA"):
        image.putalpha(image.convert("L").point(lambda x: 255 if x > 120 else x))
    return image.convert(mode.partition("+")[0])


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> int:
    """The largest, in 255ths; theirs is in 0 … 1."""
    return int((ours.int() - (theirs * 255).round().int()).abs().max())


@pytest.mark.parametrize(("ours", "mode"), [("crop", "shortest"), ("squash", "squash")])
@pytest.mark.parametrize("filter", ["bicubic", "bilinear"])
def test_as_open_clip_does(ours, mode, filter):
    config = PreprocessConfig(resize=ours, filter=filter, like="open_clip")
    plain = PreprocessCfg(size=SIZE, mean=(0, 0, 0), std=(1, 1, 1), interpolation=filter, resize_mode=mode)
    transform = image_transform_v2(plain, is_train=False)
    for name, data in files():
        assert difference(prepare(opened(data), SIZE, config), transform(opened(data))) == 0, name


@pytest.mark.parametrize(("ours", "processor"), [("crop", CLIPImageProcessor), ("squash", SiglipImageProcessor)])
@pytest.mark.parametrize(("filter", "number"), [("bicubic", 3), ("bilinear", 2)])
def test_as_transformers_does(ours, processor, filter, number):
    config = PreprocessConfig(resize=ours, filter=filter, like="transformers")
    size = {"shortest_edge": SIZE} if ours == "crop" else {"height": SIZE, "width": SIZE}
    crop = {"crop_size": {"height": SIZE, "width": SIZE}} if ours == "crop" else {}
    theirs = processor(size=size, resample=number, do_normalize=False, **crop)
    for name, data in files():
        found = theirs(opened(data), return_tensors="pt")["pixel_values"][0]
        assert difference(prepare(opened(data), SIZE, config), found) <= 1, name


def test_ours_is_what_training_sees():
    for name, data in files():
        found = prepare(opened(data), SIZE, PreprocessConfig())
        assert torch.equal(found, stack_images([opened(data)], SIZE)[0]), name


def test_the_rules_differ_where_they_are_said_to():
    """Else the tests above would show nothing."""
    by_name: dict[str, Image.Image] = {name: opened(data) for name, data in files()}
    rules = [PreprocessConfig(like=like) for like in ("calligram", "open_clip", "transformers")]

    def prepared(name: str) -> list[torch.Tensor]:
        return [prepare(by_name[name], SIZE, config) for config in rules]

    ours, open_clip, transformers = prepared("PNG RGBA")
    assert not torch.equal(ours, open_clip) and not torch.equal(ours, transformers)
    _, open_clip, transformers = prepared("PNG P")
    assert not torch.equal(open_clip, transformers), "one scales a palette's picture, the other its colours"
    tall = Image.new("RGB", (SIZE, SIZE + 3))
    tall.paste((255, 255, 255), (0, 2, SIZE, SIZE))
    tops = [int(prepare(tall, SIZE, config)[0, 0, 0]) for config in rules[1:]]
    assert tops == [255, 0], "they round half a pixel to different sides"
