import hashlib
import json
import shutil
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import webdataset as wds
from PIL import Image

from calligram.data.catalogue import catalogue
from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.data.sample import Sample
from calligram.data.source import Source
from calligram.data.sources.shapes import ShapesSource
from calligram.data.writer import members, write_shards
from calligram.errors import UserError


def contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_source_gives_the_same_bytes(source, folder, tmp_path):
    write_shards(source, tmp_path / "again", samples_per_shard=10)
    assert contents(tmp_path / "again") == contents(folder)


def test_the_number_of_processes_does_not_show(source, folder, tmp_path):
    write_shards(source, tmp_path / "by two", samples_per_shard=10, processes=2)
    assert contents(tmp_path / "by two") == contents(folder)


def test_tars_hold_no_time_and_no_user(folder):
    with tarfile.open(folder / "train" / "000000.tar") as tar:
        for info in tar:
            assert (info.mtime, info.uname, info.gname) == (0, "calligram", "calligram")


def test_the_manifest_says_what_there_is(source, folder):
    manifest = Manifest.load(folder)
    assert (manifest.name, manifest.licence) == (source.name, source.licence)
    assert manifest.class_names == source.class_names() and manifest.templates == source.templates()
    assert type(source).model_validate(manifest.source) == source
    assert [shard.num_samples for shard in manifest.shards("train")] == [10, 10, 3]
    assert {split: manifest.num_samples(split) for split in manifest.splits} == source.splits()
    for shard in manifest.shards("train"):
        data = (folder / shard.file).read_bytes()
        assert (shard.num_bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_webdataset_reads_what_we_read(source, folder):
    """Its own reader and decoder against ours and against the source."""
    urls = [str(folder / "train" / f"{n:06d}.tar") for n in range(3)]
    theirs = list(wds.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    ours = Shards(folder, "train")
    assert len(theirs) == len(ours) == 23
    for i, them in enumerate(theirs):
        sample, us = source.sample("train", i), ours[i]
        assert them["__key__"] == us.key == sample.key
        assert np.array_equal(them["png"], np.asarray(us.image()))
        assert np.array_equal(them["png"], np.asarray(sample.image))
        assert them["txt"] == us.captions[0]
        assert (
            them["json"]
            == us.meta
            == {"captions": list(sample.captions), "negatives": list(sample.negatives), **sample.meta}
        )
        assert us.captions == sample.captions == ours.read_captions(i)


class Broken(Source):
    """Fails at its second sample."""

    name: ClassVar[str] = "broken"
    licence: ClassVar[str] = "CC0-1.0"

    def splits(self) -> dict[str, int]:
        return {"train": 2}

    def sample(self, split: str, index: int) -> Sample:
        if index:
            raise RuntimeError("the source broke")
        return Sample(key="a", image=Image.new("RGB", (4, 4)), captions=("a",))


def test_a_folder_that_is_not_whole_never_has_its_name(tmp_path):
    out = tmp_path / "broken"
    with pytest.raises(RuntimeError, match="the source broke"):
        write_shards(Broken(), out)
    assert not out.exists()


def test_a_failure_leaves_the_old_data_set_alone(source, tmp_path):
    out = tmp_path / "data"
    write_shards(source.model_copy(update={"num_samples": 2, "num_test": 0}), out)
    before = contents(out)
    with pytest.raises(RuntimeError, match="the source broke"):
        write_shards(Broken(), out)
    assert contents(out) == before


def test_a_data_set_of_ours_is_replaced_whole(source, tmp_path):
    out = tmp_path / "data"
    small = source.model_copy(update={"num_samples": 3, "num_test": 0})
    write_shards(small, out, samples_per_shard=1)
    (out / "train" / "000000.tar.tokens-square1-01-23.npy").write_bytes(b"tokens of the old pictures")
    write_shards(small, out, samples_per_shard=2)
    assert sorted(p.name for p in (out / "train").glob("*.tar*")) == [
        f"00000{n}.tar{suffix}" for n in range(2) for suffix in ("", ".index.safetensors")
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_what_stands_beside_is_left_alone(source, tmp_path):
    for name in ("data.old", "data.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("a backup")
    for _ in range(2):
        write_shards(source.model_copy(update={"num_samples": 1, "num_test": 0}), tmp_path / "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "data.old", "data.partial"]
    assert (tmp_path / "data.old" / "mine").is_file()


def test_the_current_folder_can_be_filled(source, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_shards(source.model_copy(update={"num_samples": 1, "num_test": 0}), Path("."))
    assert Manifest.load(tmp_path / "here").num_samples("train") == 1


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json"])
def test_a_strangers_folder_is_refused_and_kept(source, tmp_path, name):
    """A web page has a manifest.json, too."""
    (tmp_path / name).write_text(json.dumps({"name": "my web page", "icons": []}))
    with pytest.raises(UserError, match="exists and is not a data set that `data make` wrote: choose another --out"):
        write_shards(source, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_indexed_shards_from_elsewhere_are_refused_and_kept(source, tmp_path):
    """They have a manifest of ours, and are somebody's only copy."""
    write_shards(source, tmp_path / "made")
    shutil.copytree(tmp_path / "made/train", tmp_path / "theirs/train")
    catalogue(tmp_path / "theirs")
    with pytest.raises(UserError, match="exists and is not a data set that `data make` wrote"):
        write_shards(source, tmp_path / "theirs")
    assert len(list((tmp_path / "theirs").rglob("*.tar"))) == 1
    write_shards(source, tmp_path / "made")


def test_a_file_in_the_way_is_refused_and_an_empty_folder_is_taken(source, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="choose another --out"):
        write_shards(source, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    write_shards(source.model_copy(update={"num_samples": 1, "num_test": 0}), tmp_path / "empty")
    assert Manifest.load(tmp_path / "empty").num_samples("train") == 1


def test_encoded_pictures_keep_their_bytes():
    row = members(Sample(key="a-1_b", image=b"as it was", captions=("ä", "b"), meta={"n": 1}, extension="jpg"))
    assert row["jpg"] == b"as it was" and row["txt"] == "ä".encode()
    assert json.loads(row["json"]) == {"captions": ["ä", "b"], "n": 1}


@pytest.mark.parametrize(
    ("key", "captions", "message"),
    [
        ("a.b", ("a",), "sample key 'a.b': give letters, digits, - and _ only"),
        ("a/b", ("a",), "sample key 'a/b'"),
        ("", ("a",), "sample key ''"),
        ("a", (), "sample a has an empty caption"),
        ("a", ("a", " "), "sample a has an empty caption"),
    ],
)
def test_samples_that_no_shard_can_hold_are_refused(key, captions, message):
    with pytest.raises(UserError, match=message):
        members(Sample(key=key, image=b"", captions=captions))


def test_a_class_stands_where_webdataset_looks_for_it(tmp_path):
    """In a member of its own, for those samples that have one."""
    write_shards(ShapesSource(num_samples=12, num_test=0, num_holdout=0), tmp_path / "shapes")
    rows = list(wds.WebDataset(str(tmp_path / "shapes/train/000000.tar"), shardshuffle=False))
    classes = [json.loads(row["json"]).get("class") for row in rows]
    assert [int(row["cls"]) if "cls" in row else None for row in rows] == classes
    assert None in classes and any(number is not None for number in classes)
