import io
import shutil
import tarfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from calligram.data import index
from calligram.data.catalogue import describe
from calligram.data.index import IndexedSample, Member
from calligram.data.scan import scan
from calligram.data.shard import read_index
from calligram.errors import UserError


@pytest.fixture
def tar(folder, tmp_path):
    """A shard to damage, without its index."""
    return shutil.copy(folder / "train" / "000000.tar", tmp_path / "copy.tar")


def test_the_side_car_says_what_a_scan_finds(folder, tar):
    written = read_index(folder / "train" / "000000.tar")
    assert list(written) == scan(tar).samples == list(read_index(tar))
    assert len(written) == 10 and set(written[0].members) == {"cls", "png", "txt", "json"}
    describe(tar, "copy.tar")
    assert index.side_car(tar).read_bytes() == index.side_car(folder / "train" / "000000.tar").read_bytes()


def test_members_lie_where_the_index_says(tar):
    data = tar.read_bytes()
    with tarfile.open(tar) as archive:
        for sample in read_index(tar):
            for extension, member in sample.members.items():
                file = archive.extractfile(f"{sample.key}.{extension}")
                assert file is not None
                assert data[member.offset : member.offset + member.size] == file.read()


def test_keys_of_any_letters_and_lengths_come_back(tmp_path):
    members = {"jpg": Member(5, 6, 7), "txt": Member(1, 2, 3)}
    samples = [IndexedSample(key, members) for key in ("a", "ünï/✓", "b" * 300)]
    path = tmp_path / "x.safetensors"
    index.save(index.build(samples, 100, {"no picture": 3}), path)
    found = index.load(path)
    assert list(found) == samples and found.num_bytes == 100 and found.left_out == {"no picture": 3}
    with pytest.raises(IndexError):
        found[3]


def test_a_shard_without_samples_has_an_index(tmp_path):
    index.save(index.build([], 1024), tmp_path / "x.safetensors")
    assert list(index.load(tmp_path / "x.safetensors")) == []


def test_ten_thousand_samples_take_about_a_megabyte(tmp_path):
    members = {extension: Member(512 * i, 500, i) for i, extension in enumerate(("jpg", "txt", "json"))}
    samples = [IndexedSample(f"{i:09d}", members) for i in range(10_000)]
    index.save(index.build(samples, 10**6), tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").stat().st_size < 1.3e6


@pytest.mark.parametrize(
    "change",
    [
        lambda columns: columns.pop("size"),
        lambda columns: columns.update(size=columns["size"][:-1]),
        lambda columns: columns.update(size=columns["size"] + 10**9),
        lambda columns: columns.update(offset=-columns["offset"] - 1),
        lambda columns: columns.update(extension=columns["extension"] + 3),
        lambda columns: columns.update(member_ends=columns["member_ends"][::-1].copy()),
        lambda columns: columns.update(key_ends=columns["key_ends"] + 1),
        lambda columns: columns.update(crc32=columns["crc32"].astype(np.float64)),
    ],
)
def test_columns_that_make_no_sense_are_refused(folder, tar, change):
    describe(tar, "copy.tar")
    path = index.side_car(tar)
    columns = load_file(path)
    with index.safe_open(path, framework="np") as file:
        facts = file.metadata()
    change(columns)
    save_file(columns, path, metadata=facts)
    with pytest.raises(UserError, match=r"index\.safetensors is not an index that can be read .* delete it"):
        read_index(tar)


@pytest.mark.parametrize("data", [b"", b"{", b"\x80\x04." * 9, bytes(100)])
def test_a_spoilt_side_car_is_named(tar, data):
    index.side_car(tar).write_bytes(data)
    with pytest.raises(UserError, match=r"is not an index that can be read"):
        read_index(tar)


def test_the_index_of_another_tar_is_noticed_by_its_size(tar):
    describe(tar, "copy.tar")
    with tar.open("ab") as file:
        file.write(bytes(512))
    with pytest.raises(UserError, match=r"copy\.tar has [\d,]+ bytes, its index was made of [\d,]+: fetch it again"):
        read_index(tar)
    tar.unlink()
    with pytest.raises(UserError, match=r"copy\.tar is missing"):
        read_index(tar)


def test_bytes_of_a_file_name_that_are_no_utf8_survive(tmp_path):
    path = tmp_path / "latin.tar"
    with tarfile.open(path, "w", encoding="latin-1", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("caf\xe9.jpg", "caf\xe9.txt"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    describe(path, path.name)
    assert list(read_index(path)) == scan(path).samples
    assert read_index(path).key(0).encode(errors="surrogateescape") == b"caf\xe9"
