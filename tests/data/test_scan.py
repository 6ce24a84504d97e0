import io
import shutil
import tarfile

import pytest
import webdataset as wds

from calligram.data.scan import APART, LINK, NEVER_READ, NO_PICTURE, NO_TEXT, TWICE, Finding, scan
from calligram.data.shard import Shard
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


def test_keys_and_extensions_are_those_of_webdataset(tmp_path):
    names = ["a.jpg", "a.txt", "b/c.cls.txt", "b/c.txt", "b/c.webp", "x.y/d.PNG", "x.y/d.json"]
    names += [".hidden", "README", "e/._mac.jpg", "e/._mac.txt"]
    path = write_tar(tmp_path / "foreign.tar", names)
    ours = {sample.key: set(sample.members) for sample in scan(path).samples}
    reader = wds.WebDataset(str(path), shardshuffle=False)
    theirs = {sample["__key__"]: {name for name in sample if not name.startswith("__")} for sample in reader}
    theirs.pop("e/")  # there webdataset makes a sample of what macOS leaves behind
    assert (
        ours
        == theirs
        == {
            "a": {"jpg", "txt"},
            "b/c": {"cls.txt", "txt", "webp"},
            "x.y/d": {"png", "json"},
        }
    )


def end_of_last_member(tar) -> int:
    last = max((m for s in scan(tar).samples for m in s.members.values()), key=lambda m: m.offset)
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
        scan(tar)


def findings(path) -> dict[str, str]:
    return {finding.name: finding.reason for finding in scan(path).findings}


def keys(path) -> list[str]:
    return [sample.key for sample in scan(path).samples]


def test_halves_of_samples_are_left_out_and_told(tmp_path):
    path = write_tar(tmp_path / "halves.tar", ["a.jpg", "b.jpg", "b.txt", "c.txt", "d.cls", "d.webp"])
    assert findings(path) == {"a": NO_TEXT, "c": NO_PICTURE}
    assert keys(path) == ["b", "d"]
    assert scan(path).index().left_out == {NO_TEXT: 1, NO_PICTURE: 1}


def test_of_a_key_that_is_there_twice_the_first_stays(tmp_path):
    path = write_tar(tmp_path / "double.tar", ["a.jpg", "a.txt", "b.jpg", "b.txt", "a.JPG", "a.txt"])
    found = scan(path)
    assert [f for f in found.findings if f.reason == TWICE] == [Finding("a.JPG", TWICE), Finding("a.txt", TWICE)]
    assert keys(path) == ["a", "b"]
    first, second = found.samples
    assert first.members["jpg"].offset < second.members["jpg"].offset
    assert found.index().left_out == {TWICE: 2}


def test_members_that_lie_apart_are_joined_and_told(tmp_path):
    path = write_tar(tmp_path / "apart.tar", ["a.jpg", "b.jpg", "a.txt", "b.txt"])
    assert findings(path) == {"a.txt": APART, "b.txt": APART}
    assert keys(path) == ["a", "b"] and scan(path).index().left_out == {}


def test_a_dot_inside_a_name_is_an_error_that_tells_the_rule(tmp_path):
    path = write_tar(tmp_path / "dotted.tar", ["b.jpg", "b.txt", "a.v1.jpg", "a.v1.txt", "a.v2.jpg"])
    with pytest.raises(UserError, match=r"a\.v1\.jpg is the member 'v1\.jpg' of a sample 'a', since a key ends at the"):
        scan(path)


@pytest.mark.parametrize("extension", ["pkl", "pyd", "pth", "PT", "meta.pickle"])
def test_what_other_readers_execute_is_never_decoded(tmp_path, extension):
    path = write_tar(tmp_path / "unsafe.tar", ["a.jpg", "a.txt", f"a.{extension}"])
    assert findings(path) == {f"a.{extension}": NEVER_READ}
    assert set(scan(path).samples[0].members) == {"jpg", "txt"}


def test_links_and_devices_are_no_members(tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("a.txt", tarfile.LNKTYPE), ("a.json", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert findings(path) == {"a.jpg": LINK, "a.txt": LINK, "a.json": LINK}
    assert keys(path) == []


def test_a_missing_tar_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.tar is missing"):
        scan(tmp_path / "gone.tar")


def test_a_compressed_tar_is_refused(tar):
    with tarfile.open(tar.with_name("packed.tar"), "w:gz") as packed:
        packed.add(tar, "a.txt")
    with pytest.raises(UserError, match=r"packed\.tar is not a readable tar"):
        scan(tar.with_name("packed.tar"))


def test_a_tar_without_pictures_holds_texts_alone(tmp_path):
    path = write_tar(tmp_path / "texts.tar", ["a.txt", "b.json", "c.pdf"])
    assert findings(path) == {"c": NO_TEXT}
    assert keys(path) == ["a", "b"]
    with pytest.raises(UserError, match="holds texts and no pictures: only a DALL-E reads it"):
        Shard(path).read_image(0)
