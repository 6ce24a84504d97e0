"""Training pictures at their own aspect ratio: the pixels that a model is asked about later, through every loader."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from calligram.clip.preprocess import FILTERS, PreprocessConfig, prepare
from calligram.data.draws import Draws
from calligram.data.loader import Batches
from calligram.data.native import Native, draw_share, pack, unpack
from calligram.data.sources.folder import FolderSource
from calligram.data.training import DataConfig, TrainingSet
from calligram.data.transforms import AugmentConfig
from calligram.data.writer import write_shards

NATIVE = Native(4, 24, FILTERS["bilinear"])


def encoded(width: int, height: int, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_training_and_classification_see_the_same_pixels(kind):
    config = PreprocessConfig(resize="native", max_patches=24, filter="bilinear")
    for width, height in ((90, 40), (30, 130), (24, 16), (9, 9)):
        data = encoded(width, height, kind)
        seen = NATIVE.read(data, AugmentConfig(), Draws(0))
        assert torch.equal(seen, prepare(Image.open(io.BytesIO(data)), 16, config, 4))
        assert seen.shape[1] % 4 == seen.shape[2] % 4 == 0 and seen.numel() <= 24 * 48


@pytest.mark.parametrize(
    "augment", [AugmentConfig(min_crop=0.5), AugmentConfig(scale=(0.3, 0.6))], ids=["side", "area"]
)
def test_crops_keep_the_aspect_ratio_and_lie_within(augment):
    boxes = [draw_share((300, 100), augment, Draws(0, i)) for i in range(200)]
    shares = []
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 300 and 0 <= top < bottom <= 100
        assert (right - left) / (bottom - top) == pytest.approx(3, rel=0.02)
        shares.append((right - left) * (bottom - top) / 30_000)
    low, high = (0.25, 1) if augment.scale is None else augment.scale
    assert low - 0.01 < min(shares) < low + 0.1 and high - 0.1 < max(shares) < high + 0.01
    assert len({box[:2] for box in boxes}) > 100
    assert draw_share((300, 100), AugmentConfig(), Draws(0)) is None


def test_a_mirrored_and_shifted_picture_is_one():
    data = encoded(90, 40)
    plain = NATIVE.read(data, AugmentConfig(), Draws(0))
    found = [NATIVE.read(data, AugmentConfig(flip=True), Draws(0, i)) for i in range(20)]
    assert {bool(torch.equal(x, plain)) for x in found} == {True, False}
    assert all(torch.equal(x, plain) or torch.equal(x, plain.flip(2)) for x in found)
    shifted = NATIVE.read(data, AugmentConfig(shift=3), Draws(0, 1))
    assert shifted.shape == plain.shape and not torch.equal(shifted, plain)


def test_a_batch_survives_the_way_between_processes():
    pictures = [torch.randint(0, 256, (3, h, w), dtype=torch.uint8) for h, w in ((4, 8), (8, 4), (4, 4))]
    batch = {"text": torch.zeros(3), **pack(pictures)}
    assert all(isinstance(x, torch.Tensor) for x in batch.values())
    found = unpack(batch)
    assert found.keys() == {"text", "image"}
    assert all(torch.equal(a, b) for a, b in zip(found["image"], pictures, strict=True))
    squares = {"image": torch.zeros(2, 3, 4, 4)}
    assert unpack(squares) is squares


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("native")
    (folder / "pictures").mkdir()
    for i in range(12):
        (folder / "pictures" / f"{i}.png").write_bytes(encoded(20 + 13 * i, 150 - 11 * i))
        (folder / "pictures" / f"{i}.txt").write_text(f"picture {i}")
    write_shards(FolderSource(root=folder / "pictures", test_fraction=0.0), folder / "shards", samples_per_shard=5)
    return folder / "shards"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_lists_of_pictures_however_they_were_read(shards, num_workers):
    def batches(workers: int) -> list[dict]:
        data = TrainingSet(DataConfig(shards=shards, num_workers=workers), 16, native=NATIVE)
        return list(Batches(data, 4, 4, 1, lambda captions: torch.tensor([int(c.split()[1]) for c in captions])))

    found = batches(num_workers)
    assert len(found) == 4
    for batch in found:
        assert len(batch["image"]) == len(batch["text"]) == 4
        assert len({x.shape for x in batch["image"]}) > 1
        for x, number in zip(batch["image"], batch["text"].tolist(), strict=True):
            expected = NATIVE.read(encoded(20 + 13 * number, 150 - 11 * number), AugmentConfig(), Draws(0))
            assert torch.equal(x, expected)
