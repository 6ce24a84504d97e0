"""Shards of photographs to batches, beside webdataset with Pillow and open_clip: python benchmarks/loader.py [--quick]

All read the same shards in one thread and cut the same squares: a random 0.9 to 1 of the area, as CLIP is trained.
webdataset's pipeline is the one of its README, decode("pil") and then torchvision's transform. open_clip's is
``get_wds_dataset`` as it trains with, but for one patch: its tar reader fails on webdataset 1.0.2 (KeyError 'fname'),
whose tar expander has remarks of its own among the members; they are left out here before its grouping sees them.
Ours reads with Batches; neither side has a text tokenizer. "bare" is turbo and torchvision's resize on bytes that are
in memory already, scaled in the transform where ours does so, too.

The photographs are the two that scikit-learn brings, every one cropped and scaled otherwise, with some grain, since
enlarged pictures would be easier to decode than those of a camera.
"""

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import open_clip
import open_clip_train.data as open_clip_data
import simplejpeg
import torch
import webdataset as wds
from harness import Row, paired_seconds, run, throughput_row
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import InterpolationMode, v2

from calligram.data.dataset import Shards
from calligram.data.decode import decode_square
from calligram.data.loader import Batches
from calligram.data.sample import Sample
from calligram.data.source import Source
from calligram.data.tokens import Tokens, write_tokens
from calligram.data.training import DataConfig, TrainingSet
from calligram.data.transforms import AugmentConfig
from calligram.data.writer import write_shards
from calligram.pictures import square, to_tensor, upright

PACKAGES = ("webdataset", "open_clip_torch", "torch", "torchvision", "simplejpeg", "pillow", "numpy")
SIZE, BATCH = 224, 128
SIZES = ((512, 512), (640, 480), (800, 600), (768, 1024), (1280, 960), (1600, 1200))
OPEN_CLIP, WEBDATASET = "open_clip", "webdataset + Pillow"
ALLOWED = 0.5  # of 255, the mean difference from a full decode


class Photographs(Source):
    """Each another crop, size and quality of two photographs."""

    name: ClassVar[str] = "benchmark-photographs"
    licence: ClassVar[str] = "CC BY 2.0 (scikit-learn's sample images)"
    count: int

    def splits(self) -> dict[str, int]:
        return {"train": self.count}

    def sample(self, split: str, index: int) -> Sample:
        rng = np.random.default_rng(index)
        photograph = Image.fromarray(load_sample_images().images[index % 2])
        width, height = SIZES[index // 2 % len(SIZES)]
        share = rng.uniform(0.7, 1) * min(photograph.width / width, photograph.height / height)
        left, top = rng.uniform(0, photograph.width - share * width), rng.uniform(0, photograph.height - share * height)
        box = (left, top, left + share * width, top + share * height)
        scaled = photograph.resize((width, height), Image.Resampling.LANCZOS, box=box)
        grainy = np.asarray(scaled) + rng.normal(0, 3, (height, width, 1))
        buffer = io.BytesIO()
        picture = Image.fromarray(grainy.round().clip(0, 255).astype(np.uint8))
        picture.save(buffer, "JPEG", quality=int(rng.integers(80, 96)))
        return Sample(f"{index:06}", buffer.getvalue(), (f"photograph {index}",), extension="jpg")


def measure(quick: bool) -> Iterator[Row]:
    count, repeats = (128, 3) if quick else (384, 7)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shards_folder = Path(folder) / "photographs"
        write_shards(Photographs(count=count), shards_folder, samples_per_shard=64)
        shards = Shards(shards_folder, "train")
        yield from speed_rows(shards, repeats)
        yield from difference_rows(shards)


def speed_rows(shards: Shards, repeats: int) -> Iterator[Row]:
    count, urls = len(shards), [str(path) for path in shards.paths]
    cropped, centred = reader(shards, AugmentConfig(scale=(0.9, 1))), reader(shards, AugmentConfig())
    tokens = reader(shards, AugmentConfig(), make_tokens(shards))
    peers = {OPEN_CLIP: lambda: open_clip_batches(urls, count), WEBDATASET: lambda: webdataset_batches(urls)}
    for name, peer in peers.items():
        pairs = paired_seconds(lambda: drain(cropped(), count), lambda p=peer: drain(p(), count), repeats=repeats)
        yield throughput_row("JPEGs, random crops", "images", count, pairs, name)
    for name, peer in {**peers, "ours with JPEGs": centred}.items():
        # a pass over tokens is over in milliseconds, so it is the mean of ten
        pairs = paired_seconds(
            lambda: [drain(tokens(), count) for _ in range(10)], lambda p=peer: drain(p(), count), repeats=repeats
        )
        pairs = [(ours / 10, other) for ours, other in pairs]
        yield throughput_row("tokens instead of images", "images", count, pairs, name)
    encoded = [shards[i].image_bytes for i in range(count)]
    pairs = paired_seconds(lambda: drain(centred(), count), lambda: [bare(data) for data in encoded], repeats=repeats)
    yield throughput_row("JPEGs, centre", "images", count, pairs, "bare decode + resize")


def difference_rows(shards: Shards) -> Iterator[Row]:
    """Ours against a full decode and resize by Pillow, of 255, over all pictures and over those of the worst size."""
    differences: dict[tuple[int, int], list[float]] = {}
    for i in range(min(len(shards), 120)):
        data = shards[i].image_bytes
        image = upright(Image.open(io.BytesIO(data)))
        difference = decode_square(data, SIZE).int() - to_tensor(square(image, SIZE)).int()
        differences.setdefault(image.size, []).append(difference.abs().float().mean().item())
    everything = [difference for found in differences.values() for difference in found]
    worst = max(differences, key=lambda size: np.mean(differences[size]))
    for case, found in (("all sizes", everything), (f"{worst[0]} × {worst[1]}, the worst", differences[worst])):
        mean = float(np.mean(found))
        yield Row(
            case=case,
            metric="mean difference from full decode / 255",
            ours=mean,
            peer=ALLOWED,
            peer_name="what is allowed",
            ratio=ALLOWED / mean,
        )


def reader(shards: Shards, augment: AugmentConfig, tokens: tuple[Tokens, ...] = ()) -> Callable[[], Iterable[Any]]:
    """Starts our loader anew, for one pass."""
    config = DataConfig(shards=shards.folder, num_workers=0, augment=augment)
    dataset = TrainingSet(config, SIZE, tokens)
    return lambda: Batches(dataset, BATCH, len(shards) // BATCH)


def make_tokens(shards: Shards) -> tuple[Tokens, ...]:
    """A side-car a shard, 256 tokens a picture; which ones does not matter here."""
    write_tokens(shards, "benchmark", SIZE, lambda images: images.flatten(1)[:, :256].long())
    return (Tokens(shards, "benchmark"),)


def webdataset_batches(urls: list[str]) -> Iterable[Any]:
    crop = v2.RandomResizedCrop(SIZE, scale=(0.9, 1), interpolation=InterpolationMode.BICUBIC)
    to_tensor = v2.PILToTensor()  # the quickest there is, uint8 as ours
    dataset = wds.WebDataset(urls, shardshuffle=False).shuffle(1000).decode("pil").to_tuple("jpg", "txt")
    return dataset.map_tuple(lambda image: to_tensor(crop(image)), lambda text: text).batched(BATCH)


def open_clip_batches(urls: list[str], count: int) -> Iterable[Any]:
    args = SimpleNamespace(
        train_data="::".join(urls),
        train_num_samples=count,
        train_data_upsampling_factors=None,
        seed=0,
        batch_size=BATCH,
        workers=0,
        world_size=1,
    )
    preprocess = open_clip.image_transform(SIZE, is_train=True)
    return open_clip_data.get_wds_dataset(args, preprocess, True, tokenizer=lambda text: [len(text)]).dataloader


def patch_open_clip() -> None:
    group = open_clip_data.group_by_keys_nothrow

    def group_members(data: Iterable[dict], **options: Any) -> Iterator[dict]:
        return group((member for member in data if "fname" in member), **options)

    open_clip_data.group_by_keys_nothrow = group_members


def bare(data: bytes) -> torch.Tensor:
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    scale = 2 if min(height, width) >= 4 * SIZE else 1
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height // scale, min_width=width // scale, min_factor=scale)
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    resized = v2.functional.resize(image, [SIZE], InterpolationMode.BICUBIC, antialias=True)
    return v2.functional.center_crop(resized, [SIZE, SIZE])


def drain(batches: Iterable[Any], count: int) -> None:
    """Read it all; a loader that gives less than it should would seem fast."""
    found = 0
    for batch in batches:
        images = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
        found += len(images)
    if found != count:
        raise AssertionError(f"{found} samples instead of {count}")


if __name__ == "__main__":
    patch_open_clip()
    run("loader", measure, PACKAGES)
