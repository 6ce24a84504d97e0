import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from calligram.data.idx import read_idx
from calligram.data.sources.fashion_mnist import CLASS_NAMES, DEFAULT_ROOTS, FashionMnistSource
from calligram.errors import UserError

SIZES = {"train": 30, "t10k": 10}


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def pictures(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, 28, 28), dtype=np.uint8)


def write_files(folder: Path, zipped: bool = True) -> None:
    folder.mkdir(exist_ok=True)
    for seed, (prefix, size) in enumerate(SIZES.items()):
        contents = {"images-idx3": pictures(size, seed), "labels-idx1": np.arange(size) % 10}
        for kind, array in contents.items():
            data = idx_bytes(array)
            name = f"{prefix}-{kind}-ubyte"
            (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(data) if zipped else data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path / "fashion")
    return tmp_path / "fashion"


def test_pictures_and_labels_come_back_pixel_for_pixel(folder):
    source = FashionMnistSource(root=folder)
    assert source.splits() == {"train": 30, "test": 10}
    for split, seed, size in [("train", 0, 30), ("test", 1, 10)]:
        for index in range(size):
            sample = source.sample(split, index)
            image = np.asarray(sample.image)
            assert image.shape == (28, 28, 3)
            assert (image == pictures(size, seed)[index][..., None]).all()
            assert sample.meta == {"class": index % 10, "name": CLASS_NAMES[index % 10]}


def test_plain_files_are_read_as_zipped_ones_are(folder, tmp_path):
    write_files(tmp_path / "plain", zipped=False)
    zipped, plain = FashionMnistSource(root=folder), FashionMnistSource(root=tmp_path / "plain")
    assert zipped.sample("test", 3) == plain.sample("test", 3)


def test_captions_are_the_templates_with_the_class_name(folder):
    source = FashionMnistSource(root=folder)
    boot = source.sample("train", 9)
    assert boot.captions[0] == "a photo of the ankle boot"
    assert len(set(boot.captions)) >= 4
    assert boot.captions == tuple(template.format("ankle boot") for template in source.templates())
    assert len(source.class_names()) == 10


def test_pictures_are_scaled_on_demand(folder):
    assert FashionMnistSource(root=folder, image_size=64).sample("train", 0).image.size == (64, 64)


def test_keys_are_unique_and_a_pickled_source_gives_the_same(folder):
    source = FashionMnistSource(root=folder)
    again = pickle.loads(pickle.dumps(source))  # noqa: S301  what a process pool does
    keys = [source.sample(split, i).key for split, size in source.splits().items() for i in range(size)]
    assert len(set(keys)) == 40
    assert again.sample("test", 5) == source.sample("test", 5)


def test_a_missing_folder_names_the_package_and_the_flag(tmp_path):
    with pytest.raises(UserError, match=r"(?s)nowhere.*--root.*apt-get install dataset-fashion-mnist"):
        FashionMnistSource(root=tmp_path / "nowhere").splits()


def test_a_missing_file_is_named(folder):
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte"):
        FashionMnistSource(root=folder).splits()


def damage(data: bytes, how: str) -> bytes:
    match how:
        case "cut":
            return data[:-100]
        case "too long":
            return data + b"\0"
        case "cut header":
            return data[:9]
        case "empty":
            return b""
        case "labels' magic":
            return struct.pack(">I", 0x0801) + data[4:]
        case "floats":
            return struct.pack(">I", 0x0D03) + data[4:]
        case "huge":
            return struct.pack(">4I", 0x0803, 2**31, 2**31, 2**31) + data[16:]
    raise AssertionError(how)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("how", ["cut", "too long", "cut header", "empty", "labels' magic", "floats", "huge"])
def test_a_wrong_idx_file_is_named(tmp_path, how, zipped):
    data = damage(idx_bytes(pictures(30, 0)), how)
    path = tmp_path / ("train-images-idx3-ubyte" + (".gz" if zipped else ""))
    path.write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.*not a whole IDX file"):
        read_idx(path, num_dimensions=3)


@pytest.mark.parametrize("how", ["cut", "no gzip", "flipped"])
def test_a_damaged_gzip_is_named(folder, how):
    path = folder / "train-images-idx3-ubyte.gz"
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "no gzip":
        data = bytearray(b"<html>not found</html>")
    else:
        data[-6] ^= 0xFF  # in the checksum
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz is not a whole IDX file"):
        FashionMnistSource(root=folder).splits()


def test_labels_must_fit_the_pictures_and_the_classes(folder):
    labels = folder / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx_bytes(np.arange(29) % 10)))
    with pytest.raises(UserError, match=r"30 pictures, .*29 labels"):
        FashionMnistSource(root=folder).splits()
    labels.write_bytes(gzip.compress(idx_bytes(np.arange(30) % 11)))
    with pytest.raises(UserError, match="label 10"):
        FashionMnistSource(root=folder).splits()


@pytest.mark.parametrize(("split", "index"), [("train", 30), ("train", -1), ("validation", 0)])
def test_there_is_no_sample_outside_the_splits(folder, split, index):
    with pytest.raises(UserError, match=f"{index}|{split}"):
        FashionMnistSource(root=folder).sample(split, index)


@pytest.mark.skipif(not DEFAULT_ROOTS[0].is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_real_files():
    source = FashionMnistSource()
    assert source.splits() == {"train": 60000, "test": 10000}
    assert source.sample("train", 0).captions[0] == "a photo of the ankle boot"
    assert np.asarray(source.sample("test", 9999).image).max() > 100
