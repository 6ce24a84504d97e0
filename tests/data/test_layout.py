"""A data set as CLIP_benchmark has them, by links."""

import io

import pytest
import webdataset as wds
from PIL import Image

from calligram.cli.main import main
from calligram.data.layout import lay_out
from calligram.data.manifest import Manifest
from calligram.data.sources.folder import FolderSource
from calligram.data.writer import write_shards
from calligram.errors import UserError


@pytest.fixture(scope="module")
def classed(tmp_path_factory):
    """Pictures of two colours in two classes, three a shard."""
    root = tmp_path_factory.mktemp("classed")
    for number, name in enumerate(("blue thing", "red thing")):
        (root / "pictures" / name).mkdir(parents=True)
        for i in range(12):
            color = (200 * number + i, 5 * i, 200 - 200 * number)
            Image.new("RGB", (20, 20 + i), color).save(root / "pictures" / name / f"{i}.png")
    write_shards(FolderSource(root=root / "pictures", test_fraction=0.5), root / "shards", samples_per_shard=3)
    return root / "shards"


def test_its_tars_are_read_by_number_with_names_and_templates(classed, tmp_path):
    assert main(["data", "export", str(classed), "--out", str(tmp_path / "out")]) == 0
    out, manifest = tmp_path / "out", Manifest.load(classed)
    assert (out / "classnames.txt").read_text().splitlines() == manifest.class_names == ["blue thing", "red thing"]
    templates = (out / "zeroshot_classification_templates.txt").read_text().splitlines()
    assert [t.format(c="x") for t in templates] == [t.replace("{}", "x") for t in manifest.templates]
    for split in ("train", "test"):
        last = int((out / split / "nshards.txt").read_text()) - 1
        rows = list(wds.WebDataset(f"{out}/{split}/{{0..{last}}}.tar", shardshuffle=False))
        assert len(rows) == manifest.num_samples(split)
        for row in rows:
            red, _, blue = Image.open(io.BytesIO(row["png"])).getpixel((0, 0))
            assert int(row["cls"]) == (red > blue)


def test_without_classes_it_is_one_for_retrieval(tmp_path):
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        Image.new("RGB", (9, 9)).save(tmp_path / f"pictures/{i}.png")
        (tmp_path / f"pictures/{i}.txt").write_text("a black square")
    write_shards(FolderSource(root=tmp_path / "pictures", test_fraction=0), tmp_path / "shards")
    assert lay_out(tmp_path / "shards", tmp_path / "out") == ["train"]
    assert (tmp_path / "out/dataset_type.txt").read_text() == "retrieval\n"
    assert not (tmp_path / "out/classnames.txt").exists()


def test_a_folder_in_use_and_tars_from_elsewhere_are_refused(classed, tmp_path):
    with pytest.raises(UserError, match=r"exists and is not empty: choose another --out"):
        lay_out(classed, classed)
    manifest = Manifest.load(classed)
    shard = manifest.splits["train"][0].model_copy(update={"file": "https://host/0.tar"})
    (tmp_path / "remote").mkdir()
    manifest.model_copy(update={"splits": {"train": [shard]}}).save(tmp_path / "remote")
    with pytest.raises(UserError, match=r"https://host/0.tar is not on this machine"):
        lay_out(tmp_path / "remote", tmp_path / "out")
    assert not (tmp_path / "out").exists()
