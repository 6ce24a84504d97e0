import io
import shutil
import tarfile

import pytest

from calligram.data import index
from calligram.data.catalogue import catalogue
from calligram.data.manifest import FILE_NAME, Manifest
from calligram.data.scan import NO_TEXT
from calligram.errors import UserError


def write_tar(path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))


def test_folders_are_splits_and_tars_beside_them_are_train(tmp_path):
    for name in ("b.tar", "a.tar", "val/0.tar", "test/deep/0.tar"):
        write_tar(tmp_path / name, ["x.jpg", "x.txt", "y.jpg"])
    manifest = catalogue(tmp_path)
    assert {split: [s.file for s in shards] for split, shards in manifest.splits.items()} == {
        "train": ["a.tar", "b.tar"],
        "val": ["val/0.tar"],
        "test": ["test/deep/0.tar"],
    }
    assert manifest == Manifest.load(tmp_path)
    assert all(index.side_car(tmp_path / s.file).is_file() for shards in manifest.splits.values() for s in shards)
    assert manifest.splits["train"][0].left_out == {NO_TEXT: 1}


def test_strict_stops_at_what_is_not_as_it_should_be(tmp_path):
    write_tar(tmp_path / "a.tar", ["x.jpg", "x.txt", "x.pkl"])
    with pytest.raises(UserError, match=r"a\.tar: x\.pkl: never decoded \(1 such findings in this shard\)"):
        catalogue(tmp_path, strict=True)
    assert not (tmp_path / FILE_NAME).exists()
    assert catalogue(tmp_path).num_samples("train") == 1


def test_indexes_that_were_lost_come_back_and_the_manifest_stays(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    before = {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    for path in copy.rglob(f"*{index.SUFFIX}"):
        path.unlink()
    catalogue(copy)
    assert {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_shard_that_has_changed_is_not_taken_for_the_one_that_was(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    with (copy / "train" / "000001.tar").open("r+b") as file:
        file.seek(700)  # inside a picture: the tar can be walked as before
        file.write(b"spoilt")
    before = index.side_car(copy / "train" / "000001.tar").read_bytes()
    with pytest.raises(UserError, match=r"000001\.tar has changed since manifest\.json was written: .* or delete"):
        catalogue(copy)
    assert index.side_car(copy / "train" / "000001.tar").read_bytes() == before, "it still tells what was spoilt"


def test_a_folder_without_tars_and_a_file_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no shards: no manifest\.json and no \.tar in it"):
        catalogue(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.tar is not a folder"):
        catalogue(tmp_path / "a.tar")


def test_class_names_that_are_no_text_are_refused(tmp_path):
    write_tar(tmp_path / "a.tar", ["x.jpg", "x.txt"])
    (tmp_path / "classnames.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match=r"classnames\.txt is not UTF-8 text"):
        catalogue(tmp_path)


def test_an_index_may_be_read_by_others(folder):
    path = index.side_car(folder / "train" / "000000.tar")
    assert path.stat().st_mode == (folder / "train" / "000000.tar").stat().st_mode
