import pytest

from calligram.data.manifest import Manifest, Shard
from calligram.errors import UserError

MANIFEST = Manifest(
    name="straße",
    licence="CC0-1.0",
    class_names=["grün"],
    splits={"train": [Shard(file=f"train/{n}.tar", num_samples=n, num_bytes=1, sha256="") for n in (3, 4)]},
)


def test_a_manifest_comes_back_as_it_was(tmp_path):
    MANIFEST.save(tmp_path)
    assert Manifest.load(tmp_path) == MANIFEST
    assert "straße" in (tmp_path / "manifest.json").read_text(encoding="utf-8")


def test_samples_are_counted_by_split():
    assert MANIFEST.num_samples("train") == 7
    with pytest.raises(UserError, match="split 'test' is not in this data set; it has: train"):
        MANIFEST.num_samples("test")


@pytest.mark.parametrize("content", [b"{", b'{"name": "a"}', b"\xff\xfe"])
def test_what_is_no_manifest_is_refused(tmp_path, content):
    with pytest.raises(UserError, match=r"no manifest\.json in .*calligram data make"):
        Manifest.load(tmp_path)
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json is not a calligram manifest"):
        Manifest.load(tmp_path)
