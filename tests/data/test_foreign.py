"""Shards that other tools write are indexed, verified and trained on; ours are read by webdataset."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset as wds
from PIL import Image

from calligram.data.catalogue import catalogue
from calligram.data.dataset import Shards
from calligram.data.loader import Batches
from calligram.data.scan import NO_PICTURE
from calligram.data.training import DataConfig, TrainingSet
from calligram.data.verify import verify

WORDS = ["a red square", "ein blauer Kreis", "赤い丸"]


def picture(seed: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def img2dataset(folder: Path) -> None:
    """Its ``webdataset`` output: jpg, txt and json by zero-padded key, tables and statistics beside the tars."""
    folder.mkdir()
    for shard in range(2):
        with wds.TarWriter(str(folder / f"{shard:05d}.tar")) as tar:
            for i in range(12):
                key, caption = f"{shard:05d}{i:04d}", WORDS[i % 3]
                meta = {"url": f"http://example.org/{key}", "caption": caption, "key": key, "status": "success"}
                meta |= {"error_message": None, "width": 30, "height": 20, "exif": "{}", "sha256": "0"}
                body = {"jpg": picture(i), "txt": caption, "json": json.dumps(meta)}
                tar.write({"__key__": key, **body})
            tar.write({"__key__": f"{shard:05d}9999", "txt": "a download that failed", "json": "{}"})
        (folder / f"{shard:05d}_stats.json").write_text(json.dumps({"count": 13, "successes": 12}))
        (folder / f"{shard:05d}.parquet").write_bytes(b"PAR1")


def shard_writer(folder: Path) -> None:
    """webdataset's own, with its encoders."""
    folder.mkdir()
    with wds.ShardWriter(str(folder / "set-%06d.tar"), maxcount=7, verbose=0) as writer:
        for i in range(20):
            pixels = np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8)
            writer.write({"__key__": f"sample{i:06d}", "png": pixels, "txt": WORDS[i % 3], "json": {"number": i}})


def clip_benchmark(folder: Path) -> None:
    """What its ``convert`` script writes: webp and cls, class names, templates, a count of shards."""
    (folder / "test").mkdir(parents=True)
    with wds.ShardWriter(str(folder / "test" / "%d.tar"), maxcount=9, verbose=0) as writer:
        for i in range(20):
            writer.write({"__key__": f"s{i:07d}", "webp": picture(i, "WEBP"), "cls": str(i % 3)})
    (folder / "test" / "nshards.txt").write_text("3")
    (folder / "classnames.txt").write_text("cat\ndog\nfire engine\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nart of the {c}.\n")


@pytest.mark.parametrize(
    ("write", "split", "count", "captions"),
    [
        (img2dataset, "train", 24, (WORDS[2],)),
        (shard_writer, "train", 20, (WORDS[2],)),
        (clip_benchmark, "test", 20, ("a photo of a fire engine.", "art of the fire engine.")),
    ],
)
def test_shards_from_elsewhere_are_indexed_verified_and_trained_on(tmp_path, write, split, count, captions):
    folder = tmp_path / "theirs"
    write(folder)
    manifest = catalogue(folder)
    assert manifest.num_samples(split) == count
    told = [problem.message for problem in verify(folder)]
    assert told == ([NO_PICTURE] * 2 if write is img2dataset else [])
    assert Shards(folder, split).read_captions(2) == captions
    data = TrainingSet(DataConfig(shards=folder, split=split, num_workers=1), 16)
    batches = list(Batches(data, 8, 5, text_to_ids=lambda texts: torch.tensor([len(text) for text in texts])))
    assert [batch["image"].shape for batch in batches] == [(8, 3, 16, 16)] * 5
    seen = {ref[:3] for step in range(20) for ref in Batches(data, 8, 20).plan.batch(step)}  # a lane leaves some over
    assert len(seen) == count


def test_what_img2dataset_could_not_fetch_is_counted(tmp_path):
    img2dataset(tmp_path / "theirs")
    entries = catalogue(tmp_path / "theirs").splits["train"]
    assert [entry.left_out for entry in entries] == [{NO_PICTURE: 1}] * 2


def test_webdataset_reads_ours(folder):
    shards = Shards(folder, "train")
    urls = [str(path) for path in shards.paths]
    theirs = list(wds.WebDataset(urls, shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in theirs] == [shards[i].key for i in range(len(shards))]
    for i, sample in enumerate(theirs):
        assert np.array_equal(np.asarray(sample["png"]), np.asarray(shards[i].image()))
        assert sample["txt"] == shards[i].captions[0] and sample["json"]["captions"] == list(shards[i].captions)
