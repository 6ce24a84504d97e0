"""CLIP_benchmark's layout, written by webdataset as its own converter does, read where it lies."""

import io

import fsspec
import numpy as np
import pytest
import webdataset as wds
from PIL import Image

from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.data.named import clip_benchmark
from calligram.data.resolve import resolve
from calligram.data.verify import verify
from calligram.errors import UserError
from tests.data.fault_server import FaultServer

NAMES = ["cat", "fire engine", "dog"]


def picture(seed: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def write_split(folder, samples, count=4):
    """As ``convert_dataset`` of clip_benchmark.webdataset_builder does."""
    folder.mkdir(parents=True)
    sink = wds.ShardWriter(str(folder / "%d.tar"), maxcount=count, verbose=0)
    for i, sample in enumerate(samples):
        sink.write({"__key__": f"s{i:07d}", **sample})
    number = sink.shard
    sink.close()
    (folder / "nshards.txt").write_text(f"{number}\n")


@pytest.fixture
def classed(tmp_path):
    folder = tmp_path / "wds_pets"
    write_split(folder / "test", [{"webp": picture(i, "WEBP"), "cls": i % 3} for i in range(10)])
    write_split(folder / "train", [{"jpg": picture(i), "cls": i % 3} for i in range(6)])
    (folder / "classnames.txt").write_text("\n".join(NAMES) + "\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nart of the {c}.\n")
    return folder


@pytest.fixture
def retrieval(tmp_path):
    folder = tmp_path / "flickr"
    texts = [[f"picture {i}", f"one more, {i}", "a thing"][: 1 + i % 3] for i in range(5)]
    write_split(folder / "test", [{"png": picture(i, "PNG"), "txt": "\n".join(texts[i])} for i in range(5)])
    (folder / "dataset_type.txt").write_text("retrieval\n")
    return folder


@pytest.fixture
def served(tmp_path):
    server = FaultServer(tmp_path)
    yield server
    server.close()


def check_classed(data, number=10):
    manifest, shards = Manifest.load(data), Shards(data, "test")
    assert manifest.class_names == NAMES
    assert manifest.templates == ["a photo of a {}.", "art of the {}."]
    assert [shards[i].meta["class"] for i in range(len(shards))] == [i % 3 for i in range(number)]
    assert shards[4].image_bytes == picture(4, "WEBP")
    assert shards.read_captions(1) == ("a photo of a fire engine.", "art of the fire engine.")
    assert len(manifest.splits["test"]) == 3


def test_a_folder_is_read_and_left_alone(classed, cache, tree):
    before = tree(classed)
    data = resolve(str(classed))
    check_classed(data)
    assert len(Shards(data, "train")) == 6
    assert tree(classed) == before
    assert data.is_relative_to(cache) and data.name == Manifest.load(data).name == "wds_pets"
    assert Manifest.load(data).licence == f"unknown, see {classed}"
    assert list(verify(data)) == []
    assert resolve(classed) == data


def test_other_tars_make_another_data_set(classed):
    data = resolve(classed)
    (classed / "classnames.txt").write_text("x\ny\nz\n")
    assert Manifest.load(resolve(classed)).class_names == ["x", "y", "z"]
    assert resolve(classed) != data


def test_retrieval_has_all_captions_of_a_picture(retrieval):
    data = resolve(retrieval)
    shards = Shards(data, "test")
    assert shards[2].captions == ("picture 2", "one more, 2", "a thing")
    assert shards.read_captions(0) == ("picture 0",)
    assert Manifest.load(data).class_names == []
    assert list(verify(data)) == []


def test_over_http_only_the_test_is_fetched(classed, served):
    data = resolve(f"{served.url}/wds_pets/")
    check_classed(data)
    assert list(Manifest.load(data).splits) == ["test"]
    assert all(shard.file.startswith(served.url) for shard in Manifest.load(data).splits["test"])
    assert served.requests["/wds_pets/test/2.tar"] == 1 and served.requests["/wds_pets/train/0.tar"] == 0
    assert resolve(f"{served.url}/wds_pets/") == data
    assert served.requests["/wds_pets/test/2.tar"] == 1
    both = resolve(f"{served.url}/wds_pets#train+test")
    assert {split: len(Shards(both, split)) for split in Manifest.load(both).splits} == {"train": 6, "test": 10}


def test_through_fsspec(classed):
    memory = fsspec.filesystem("memory")
    memory.put(str(classed), "/there/wds_pets", recursive=True)
    check_classed(resolve("memory://there/wds_pets"))


def test_a_page_of_the_hub_stands_for_its_files():
    plain = clip_benchmark._plain
    page = "https://huggingface.co/datasets/clip-benchmark/wds_pets"
    assert plain(page) == plain(f"{page}/tree/main") == plain(f"{page}/resolve/main") == f"{page}/resolve/main"
    assert plain(f"{page}/tree/v1/sub") == f"{page}/resolve/v1/sub"
    assert plain("https://host/wds/pets") == "https://host/wds/pets"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "test/1.tar").unlink(), r"1\.tar is missing, though nshards\.txt beside it counts it"),
        (lambda f: (f / "test/nshards.txt").write_text("three"), r"nshards\.txt says 'three': write the number"),
        (lambda f: (f / "classnames.txt").unlink(), r"has neither classnames\.txt, a name a line, nor a dataset_type"),
        (lambda f: (f / "dataset_type.txt").write_text("sound"), r"dataset_type\.txt says 'sound': it can say classif"),
        (lambda f: (f / "test/0.tar").write_bytes(b"PK" * 999), r"wds_pets/test/0\.tar is "),
    ],
)
def test_what_is_wrong_is_named(classed, cache, spoil, said):
    spoil(classed)
    with pytest.raises(UserError, match=said):
        resolve(classed)
    assert not list(cache.rglob("manifest.json"))


def test_a_split_that_is_not_there(classed, served):
    with pytest.raises(UserError, match=r"has no split 'holdout'; it has: train, test"):
        resolve(f"{served.url}/wds_pets#holdout")


def test_a_server_that_fails_is_no_empty_folder(classed, served):
    served.faults["/wds_pets/classnames.txt"] = ["500!"]
    with pytest.raises(UserError, match=r"classnames\.txt: the server answers 500"):
        resolve(f"{served.url}/wds_pets")
    with pytest.raises(UserError, match=r"has neither manifest\.json nor test/nshards\.txt"):
        resolve(f"{served.url}/wds_dogs")


def test_its_own_reader_agrees(classed):
    """CLIP_benchmark reads the same folder: the same pictures, classes, names and templates in the same order."""
    builder = pytest.importorskip("clip_benchmark.datasets.builder")
    theirs = builder.build_wds_dataset("pets", transform=np.asarray, split="test", data_dir=str(classed))
    data = resolve(classed)
    manifest, shards = Manifest.load(data), Shards(data, "test")
    assert theirs.classes == manifest.class_names
    assert [t.format(c="x") for t in theirs.templates] == [t.replace("{}", "x") for t in manifest.templates]
    for i, (pixels, label) in enumerate(theirs):
        assert label == shards[i].meta["class"]
        assert np.array_equal(pixels, np.asarray(shards[i].image()))
    assert i == len(shards) - 1
