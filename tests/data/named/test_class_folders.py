"""Folders of picture files: scikit-learn's digits, written as an ImageFolder of PNGs, and what people do to such."""

import os

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.data.resolve import resolve
from calligram.data.verify import verify
from calligram.errors import UserError

WORDS = "zero one two three four five six seven eight nine".split()


def write_digits(root, number=60, first=0):
    digits = load_digits()
    for i in range(first, first + number):
        folder = root / f"digit_{WORDS[digits.target[i]]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[i] * 15).astype(np.uint8)).save(folder / f"{i:04d}.png")


def save(path, colour="red", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), colour).save(path, **options)


def test_digits_keep_their_bytes_and_have_their_names(tmp_path, tree, cache):
    root = tmp_path / "digits"
    write_digits(root)
    before = tree(root)
    data = resolve(str(root))
    manifest, shards = Manifest.load(data), Shards(data, "test")
    assert manifest.class_names == sorted(f"digit {word}" for word in WORDS)
    assert manifest.templates == ["a photo of a {}."]
    assert manifest.name == data.name == "digits" and data.is_relative_to(cache)
    assert list(manifest.splits) == ["test"] and len(shards) == 60
    for record in (shards[i] for i in range(60)):
        path = root / record.meta["path"]
        assert record.image_bytes == before[path]
        assert manifest.class_names[record.meta["class"]] == path.parent.name.replace("_", " ")
        assert record.captions == (f"a photo of a {path.parent.name.replace('_', ' ')}.",)
    assert len({shards[i].meta["class"] for i in range(20)}) > 5, "the first are of all classes"
    assert list(verify(data)) == []
    assert tree(root) == before


def test_it_is_written_once_and_anew_after_a_change(tmp_path):
    root = tmp_path / "digits"
    write_digits(root, 12)
    data = resolve(root)
    made = (data / "manifest.json").stat().st_mtime_ns
    assert resolve(root) == data and (data / "manifest.json").stat().st_mtime_ns == made
    path = next(root.rglob("*.png"))
    os.utime(path, ns=(1, 1))
    assert resolve(root) != data


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train", "val"), {"train": 12, "test": 7}),
        (("train", "val", "test"), {"train": 12, "val": 7, "test": 5}),
        (("train",), {"test": 12}),
        (("validation",), {"test": 12}),
    ],
)
def test_folders_above_the_classes_are_splits(tmp_path, folders, expected):
    for folder, number in zip(folders, (12, 7, 5), strict=False):
        write_digits(tmp_path / "d" / folder, number)
    data = resolve(tmp_path / "d")
    manifest = Manifest.load(data)
    assert {split: manifest.num_samples(split) for split in manifest.splits} == expected
    assert len(manifest.class_names) == 10


def test_a_class_may_be_called_test(tmp_path):
    for name in ("test", "exam"):
        save(tmp_path / "d" / name / "1.png")
    assert Manifest.load(resolve(tmp_path / "d")).class_names == ["exam", "test"]


def test_the_outermost_folder_is_the_class_and_names_may_stand_in_a_file(tmp_path):
    save(tmp_path / "d/n01440764/deep/1.JPEG", "red", format="JPEG")
    save(tmp_path / "d/n01443537/1.png", "blue")
    (tmp_path / "d/classnames.txt").write_text("tench\ngoldfish\n")
    data = resolve(tmp_path / "d")
    found = {record.meta["path"]: record for record in (Shards(data, "test")[i] for i in range(2))}
    assert Manifest.load(data).class_names == ["tench", "goldfish"]
    assert found["n01440764/deep/1.JPEG"].captions == ("a photo of a tench.",)
    assert found["n01440764/deep/1.JPEG"].image_bytes == (tmp_path / "d/n01440764/deep/1.JPEG").read_bytes()
    (tmp_path / "d/classnames.txt").write_text("tench\n")
    with pytest.raises(UserError, match=r"classnames\.txt has 1 lines for 2 folders: write one for each"):
        resolve(tmp_path / "d")


def test_large_pictures_are_not_written_anew(tmp_path):
    """The source ``folder`` scales them down; a benchmark's pictures stay what they are, turned ones, too."""
    turned = Image.Exif()
    turned[0x0112] = 6
    save(tmp_path / "d/a/1.jpg", exif=turned)
    Image.effect_noise((900, 700), 80).save(tmp_path / "d/a/2.jpg")
    shards = Shards(resolve(tmp_path / "d"), "test")
    for record in (shards[0], shards[1]):
        assert record.image_bytes == (tmp_path / "d" / record.meta["path"]).read_bytes()
    assert {record.image().size for record in (shards[0], shards[1])} == {(10, 20), (900, 700)}


def test_captions_beside_the_pictures_and_in_a_table(tmp_path):
    for i in range(3):
        save(tmp_path / f"d/{i}.png")
        (tmp_path / f"d/{i}.txt").write_text(f"picture {i}\nthe {i}th\n")
    data = resolve(tmp_path / "d")
    captions = {Shards(data, "test")[i].captions for i in range(3)}
    assert captions == {(f"picture {i}", f"the {i}th") for i in range(3)}
    assert Manifest.load(data).templates == ["{}"] and Manifest.load(data).class_names == []
    (tmp_path / "t.csv").write_text("image,caption\nd/0.png,first\nd/1.png,second\n")
    assert {Shards(resolve(tmp_path / "t.csv"), "test")[i].captions for i in range(2)} == {("first",), ("second",)}


def test_pictures_that_cannot_be_used_are_told(tmp_path, caplog):
    write_digits(tmp_path / "d/train", 5)
    (tmp_path / "d/train/digit_one/broken.png").write_bytes(b"no picture")
    save(tmp_path / "d/train/loose.png")
    data = resolve(tmp_path / "d")
    assert Manifest.load(data).num_samples("test") == 5
    assert "left out train/digit_one/broken.png" in caplog.text and "and 1 more" in caplog.text
    (tmp_path / "e").mkdir()
    save(tmp_path / "e/loose.png")
    with pytest.raises(UserError, match=r"no usable picture in .*/e: 1 left out, the first loose\.png"):
        resolve(tmp_path / "e")
