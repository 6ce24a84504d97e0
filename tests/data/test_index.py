import io
import json
import shutil
import tarfile

import pytest
import webdataset as wds

from calligram.data import index
from calligram.errors import UserError

BLOCK = 512


@pytest.fixture
def tar(folder, tmp_path):
    """A shard to damage, without its index."""
    return shutil.copy(folder / "train" / "000000.tar", tmp_path / "copy.tar")


def write_tar(path, names: list[str]):
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    return path


def test_the_side_car_says_what_a_scan_finds(folder, tar):
    samples = index.read(folder / "train" / "000000.tar")
    assert samples == index.scan(tar) == index.read(tar)
    assert len(samples) == 10 and set(samples[0].members) == {"png", "txt", "json"}
    assert index.write(tar) == samples
    assert index.side_car(tar).read_bytes() == index.side_car(folder / "train" / "000000.tar").read_bytes()


def test_members_lie_where_the_index_says(tar):
    data = tar.read_bytes()
    with tarfile.open(tar) as archive:
        for sample in index.scan(tar):
            for extension, member in sample.members.items():
                file = archive.extractfile(f"{sample.key}.{extension}")
                assert file is not None
                assert data[member.offset : member.offset + member.size] == file.read()


def test_keys_and_extensions_are_those_of_webdataset(tmp_path):
    names = ["a.jpg", "a.txt", "b/c.cls.txt", "x.y/d.PNG", ".hidden", "README", "e/._mac.jpg", "f.json"]
    path = write_tar(tmp_path / "foreign.tar", names)
    ours = {sample.key: set(sample.members) for sample in index.scan(path)}
    reader = wds.WebDataset(str(path), shardshuffle=False)
    theirs = {sample["__key__"]: {name for name in sample if not name.startswith("__")} for sample in reader}
    theirs.pop("e/")  # there webdataset makes a sample of what macOS leaves behind
    assert ours == theirs == {"a": {"jpg", "txt"}, "b/c": {"cls.txt"}, "x.y/d": {"png"}, "f": {"json"}}


def end_of_last_member(tar) -> int:
    last = max((m for s in index.scan(tar) for m in s.members.values()), key=lambda m: m.offset)
    return last.offset + -(-last.size // BLOCK) * BLOCK


def header_of(tar, number: int) -> int:
    with tarfile.open(tar) as archive:
        return archive.getmembers()[number].offset


def cut_inside_a_member(data, tar):
    return data[: end_of_last_member(tar) - BLOCK]


def cut_between_members(data, tar):
    return data[: header_of(tar, 5)]


def cut_inside_a_header(data, tar):
    return data[: header_of(tar, 5) + 100]


def cut_before_the_closing_zeros(data, tar):
    return data[: end_of_last_member(tar)]


def zero_a_header(data, tar):
    start = header_of(tar, 5)
    return data[:start] + bytes(BLOCK) + data[start + BLOCK :]


def garble_a_header(data, tar):
    start = header_of(tar, 5)
    return data[:start] + b"x" * BLOCK + data[start + BLOCK :]


def no_tar_at_all(data, tar):
    return b"<html>not found</html>" * 100


def nothing(data, tar):
    return b""


@pytest.mark.parametrize(
    "damage",
    [
        cut_inside_a_member,
        cut_between_members,
        cut_inside_a_header,
        cut_before_the_closing_zeros,
        zero_a_header,
        garble_a_header,
        no_tar_at_all,
        nothing,
    ],
)
def test_a_damaged_tar_is_refused_by_name(tar, damage):
    tar.write_bytes(damage(tar.read_bytes(), tar))
    with pytest.raises(UserError, match=r"copy\.tar is (cut off|not a readable tar)"):
        index.scan(tar)


def test_one_key_twice_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has a\.JPG twice: keys must be unique"):
        index.scan(write_tar(tmp_path / "double.tar", ["a.jpg", "b.jpg", "a.JPG"]))


def test_a_missing_tar_and_a_spoilt_side_car_are_named(tar):
    with pytest.raises(UserError, match=r"gone\.tar is missing"):
        index.read(tar.with_name("gone.tar"))
    for text in ("{", json.dumps([["a", 3]]), json.dumps({"a": 1}), json.dumps([["a", {"txt": [1, 2, 3, 4]}]])):
        index.side_car(tar).write_text(text)
        with pytest.raises(UserError, match=r"index\.json is not an index: delete it"):
            index.read(tar)
