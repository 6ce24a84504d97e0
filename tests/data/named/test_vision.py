"""torchvision's data sets by name: files in its own layouts, written here, and Fashion-MNIST's real ones."""

import hashlib
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets as theirs
from PIL import Image

from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.data.named import vision
from calligram.data.named.vision_table import SETS
from calligram.data.resolve import resolve
from calligram.data.sources.fashion_mnist import DEFAULT_ROOTS, is_there
from calligram.errors import UserError


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)


def write_jpeg(path: Path, seed: int) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed)).save(path)
    return path.read_bytes()


@pytest.fixture
def food(tmp_path):
    """Food101 with two classes, in the layout of its archive."""
    root = tmp_path / "food-101"
    lists = {"train": {}, "test": {}}
    for number, name in enumerate(("apple_pie", "waffles")):
        for i in range(5):
            split = "test" if i < 3 else "train"
            lists[split].setdefault(name, []).append(f"{name}/{i}")
            write_jpeg(root / "images" / name / f"{i}.jpg", 10 * number + i)
    (root / "meta").mkdir()
    for split, names in lists.items():
        (root / "meta" / f"{split}.json").write_text(json.dumps(names))
    return tmp_path


def test_pictures_that_are_files_keep_their_bytes(food):
    data = resolve(f"torchvision:Food101:{food}")
    manifest = Manifest.load(data)
    assert manifest.class_names == ["apple pie", "waffles"]
    assert manifest.templates == ["a photo of {}, a type of food."]
    assert manifest.licence == f"unknown, see {vision._PAGE}"
    assert {split: manifest.num_samples(split) for split in manifest.splits} == {"train": 4, "test": 6}
    original = theirs.Food101(food, split="test")
    expected = {
        Path(path).read_bytes(): label for path, label in zip(original._image_files, original._labels, strict=True)
    }
    records = [Shards(data, "test")[i] for i in range(6)]
    assert {record.image_bytes: record.meta["class"] for record in records} == expected
    assert [record.meta["class"] for record in records] != sorted(record.meta["class"] for record in records)


def test_pets(tmp_path):
    base = tmp_path / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    for split in ("trainval", "test"):
        lines = []
        for label, breed in enumerate(("Abyssinian", "great_pyrenees"), start=1):
            name = f"{breed}_{len(split)}"
            write_jpeg(base / "images" / f"{name}.jpg", label)
            lines.append(f"{name} {label} {label} 1")
        (base / "annotations" / f"{split}.txt").write_text("\n".join(lines))
    data = resolve(f"torchvision:OxfordIIITPet:{tmp_path}")
    assert Manifest.load(data).class_names == ["Abyssinian", "Great Pyrenees"]
    assert Shards(data, "test").read_captions(0)[0].endswith(", a type of pet.")


def test_pictures_in_memory_are_those_of_torchvision(tmp_path):
    """STL10 is one file of all pixels."""
    base = tmp_path / "stl10_binary"
    base.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 96, 96), np.uint8)
    (base / "class_names.txt").write_text("airplane\nbird\n")
    for split in ("train", "test"):
        pixels.tofile(base / f"{split}_X.bin")
        np.array([1, 2, 2, 1], np.uint8).tofile(base / f"{split}_y.bin")
    (base / "fold_indices.txt").write_text("0 1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs.STL10, "_check_integrity", lambda self: True)
        original = theirs.STL10(tmp_path, split="test")
        data = resolve(f"torchvision:STL10:{tmp_path}")
    expected = {np.asarray(image).tobytes(): label for image, label in original}
    records = [Shards(data, "test")[i] for i in range(4)]
    assert {np.asarray(record.image()).tobytes(): record.meta["class"] for record in records} == expected


# --- CIFAR, whose files are pickles ---


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR10 in its archive's layout, four pictures a file, with the md5s of these."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name, content):
        data = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def batch(seed):
        rng = np.random.default_rng(seed)
        return {"data": rng.integers(0, 256, (4, 3072), np.uint8), "labels": [0, 1, 1, 0], "batch_label": "x"}

    kind = theirs.CIFAR10
    monkeypatch.setattr(kind, "train_list", [[f"data_batch_{i}", write(f"data_batch_{i}", batch(i))] for i in (1, 2)])
    monkeypatch.setattr(kind, "test_list", [["test_batch", write("test_batch", batch(3))]])
    meta = {"label_names": ["airplane", "fire_truck"], "num_vis": 3072}
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": write("batches.meta", meta)})
    return tmp_path


def test_cifar_is_read_as_torchvision_reads_it(cifar, monkeypatch):
    expected = {np.asarray(image).tobytes(): label for image, label in theirs.CIFAR10(cifar, train=False)}
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("unpickled"))
    data = resolve(f"torchvision:CIFAR10:{cifar}")
    manifest = Manifest.load(data)
    assert manifest.class_names == ["airplane", "fire truck"]
    assert {split: manifest.num_samples(split) for split in manifest.splits} == {"train": 8, "test": 4}
    records = [Shards(data, "test")[i] for i in range(4)]
    assert {np.asarray(record.image()).tobytes(): record.meta["class"] for record in records} == expected


def test_cifar_is_fetched_from_its_server(cifar, tmp_path, monkeypatch, cache):
    from tests.data.fault_server import FaultServer

    (tmp_path / "www").mkdir()
    archive = tmp_path / "www/cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(cifar / "cifar-10-batches-py", "cifar-10-batches-py")
    server = FaultServer(tmp_path / "www")
    monkeypatch.setattr(theirs.CIFAR10, "url", f"{server.url}/{archive.name}")
    with pytest.raises(UserError, match=r"torchvision:CIFAR10 cannot be fetched \(.*\): fetch it where there is a net"):
        resolve("torchvision:CIFAR10")  # its md5 is another
    monkeypatch.setattr(theirs.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    assert len(Shards(resolve("torchvision:CIFAR10"), "test")) == 4
    assert (cache / "torchvision/cifar-10-batches-py/test_batch").is_file()
    server.close()


def test_a_changed_file_is_refused_before_it_is_read(cifar):
    (cifar / "cifar-10-batches-py/test_batch").write_bytes(pickle.dumps({"data": print}))
    with pytest.raises(UserError, match=r"test_batch is not the original file \(its md5 is another\)"):
        resolve(f"torchvision:CIFAR10:{cifar}")


# --- names and roots ---


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CIFAR", r"did you mean torchvision:CIFAR10\?"),
        ("fashion-mnist", r"did you mean torchvision:FashionMNIST\?"),
        ("CocoDetection", r"is no data set with names of classes"),
        ("Food101:nowhere", r"nowhere is not a folder"),
    ],
)
def test_unknown_names(name, said):
    with pytest.raises(UserError, match=said):
        resolve(f"torchvision:{name}")


def test_a_root_without_the_files(tmp_path):
    with pytest.raises(UserError, match=r"DTD:.* cannot be read \(Dataset not found.*give the folder that torchvision"):
        resolve(f"torchvision:DTD:{tmp_path}")


def test_no_network_is_one_line(monkeypatch, cache):
    monkeypatch.setattr(theirs.DTD, "_URL", "http://127.0.0.1:9/dtd.tar.gz")
    with pytest.raises(UserError, match=r"torchvision:DTD cannot be fetched \(.*refused.*torchvision:DTD:ROOT"):
        resolve("torchvision:DTD")
    assert not list(cache.rglob("manifest.json"))


@pytest.mark.parametrize("name", SETS)
def test_the_table_names_what_torchvision_has(name):
    """The arguments of the splits are parameters of its class; a name missing there must be found in its objects."""
    import inspect

    parameters = inspect.signature(getattr(theirs, name)).parameters
    assert all(argument in parameters for arguments in SETS[name].splits.values() for argument in arguments)
    assert "download" in parameters and "test" in SETS[name].splits
    assert all("{}" in template for template in SETS[name].templates)


@pytest.mark.slow
@pytest.mark.skipif(not is_there(DEFAULT_ROOTS[0]), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_from_debian():
    data = resolve("torchvision:FashionMNIST")
    manifest, shards = Manifest.load(data), Shards(data, "test")
    assert manifest.class_names == theirs.FashionMNIST.classes and manifest.licence == "MIT"
    assert {split: manifest.num_samples(split) for split in manifest.splits} == {"train": 60_000, "test": 10_000}
    counts = np.bincount([shards.read_words(*shards.locate(i))[1]["class"] for i in range(len(shards))])
    assert counts.tolist() == [1000] * 10
