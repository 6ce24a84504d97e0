"""Whatever is wrong with a data set is found, where it is, and the check goes on behind it."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from calligram.data import index
from calligram.data.catalogue import describe
from calligram.data.manifest import FILE_NAME, Manifest
from calligram.data.shard import read_index
from calligram.data.verify import Problem, verify
from calligram.errors import UserError

SHARD = "train/000001.tar"
Contents = dict[str, bytes]


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """A data set to damage."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def problems(folder: Path) -> list[Problem]:
    return list(verify(folder))


def messages(folder: Path) -> str:
    return "\n".join(f"{problem.shard} {problem.key}: {problem.message}" for problem in verify(folder))


def overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def rewrite(folder: Path, edit: Callable[[Contents], object]) -> str:
    """Changes the members of a shard as if it had been written so, and returns the key of its third sample."""
    path = folder / SHARD
    with tarfile.open(path) as archive:
        contents = {info.name: archive.extractfile(info).read() for info in archive}
    keys = list(dict.fromkeys(name.partition(".")[0] for name in contents))
    edit_sample(contents, keys[2], edit)
    with tarfile.open(path, "w") as archive:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    entry = describe(path, SHARD)
    facts = json.loads((folder / FILE_NAME).read_text())
    facts["splits"]["train"][1] = entry.model_dump()
    (folder / FILE_NAME).write_text(json.dumps(facts))
    return keys[2]


def edit_sample(contents: Contents, key: str, edit: Callable[[Contents], object]) -> None:
    sample = {name.partition(".")[2]: contents.pop(name) for name in list(contents) if name.startswith(f"{key}.")}
    edit(sample)
    contents |= {f"{key}.{extension}": data for extension, data in sample.items()}


def change_json(**changes: object) -> Callable[[Contents], object]:
    return lambda sample: sample.update(json=json.dumps(json.loads(sample["json"]) | changes).encode())


def huge_picture() -> bytes:
    """Few bytes, 144 million pixels."""
    buffer = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(buffer, "PNG")
    return buffer.getvalue()


def test_nothing_is_wrong_with_a_new_data_set(folder):
    assert problems(folder) == []


def test_rewriting_alone_is_no_damage(copy):
    rewrite(copy, lambda sample: None)
    assert problems(copy) == []


def test_a_missing_shard(copy):
    (copy / SHARD).unlink()
    assert problems(copy) == [Problem(SHARD, None, "the file is missing")]


def test_a_shard_that_is_cut_off(copy):
    path = copy / SHARD
    samples = list(read_index(path))
    size = path.stat().st_size
    end = samples[6].members["png"].offset + 10
    with path.open("r+b") as file:
        file.truncate(end)
    found = problems(copy)
    assert Problem(SHARD, None, f"the file has {end} bytes, the manifest says {size}") in found
    assert any(problem.key is None and problem.message.startswith("is cut off") for problem in found)
    # which samples are lost is told by the index
    broken = {problem.key for problem in found if problem.key is not None}
    assert broken == {samples[6].key}
    lost = f"is cut off, and so are the {len(samples) - 7} samples behind it"
    assert [problem.message for problem in found if problem.key is not None] == [lost]


def test_flipped_bytes_are_found_in_their_sample(copy):
    sample = read_index(copy / SHARD)[4]
    member = sample.members["png"]
    overwrite(copy / SHARD, member.offset + member.size // 2, b"\xff\x00\xff\x00")
    found = problems(copy)
    assert found[0] == Problem(SHARD, None, "its bytes have changed: the sha256 is not the manifest's")
    assert Problem(SHARD, sample.key, ".png has changed since it was indexed (its crc32)") in found
    assert {problem.key for problem in found} == {None, sample.key}


@pytest.mark.parametrize("number", [0, 5])
def test_a_zeroed_header(copy, number):
    """Python's tarfile takes it for the end of the tar and says nothing."""
    sample = read_index(copy / SHARD)[number]
    first = min(member.offset for member in sample.members.values())
    overwrite(copy / SHARD, first - 512, bytes(512))
    found = problems(copy)
    assert {(problem.shard, problem.key) for problem in found} == {(SHARD, None)}
    assert len(found) == 2
    assert "sha256" in found[0].message
    assert "damaged behind byte" in found[1].message


def test_an_index_of_another_shard(copy):
    shutil.copy(index.side_car(copy / "train/000000.tar"), index.side_car(copy / SHARD))
    (problem,) = problems(copy)
    assert problem.shard == SHARD
    assert problem.message.startswith("the index has it elsewhere than the tar (so are 19 more)")


def test_an_index_that_is_none(copy):
    index.side_car(copy / SHARD).write_text("{")
    assert "is not an index" in messages(copy)


def test_a_shard_needs_no_index(copy):
    index.side_car(copy / SHARD).unlink()
    assert problems(copy) == []


def test_an_exchanged_shard(copy):
    shutil.copy(copy / "test/000000.tar", copy / SHARD)
    describe(copy / SHARD, SHARD)
    text = messages(copy)
    assert "bytes, the manifest says" in text
    assert "the tar has 5 samples, the manifest says 10" in text


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda sample: sample.pop("png"), "no picture"),
        (lambda sample: sample.update(png=b"hello"), ".png: not an image in a known format"),
        (lambda sample: sample.update(png=sample["png"][:-40]), ".png: damaged image"),
        (lambda sample: sample.update(png=huge_picture()), ".png: 12000 x 12000 pixels, more than"),
        (lambda sample: sample.update(txt=b" \n"), "the caption is empty"),
        (lambda sample: sample.update(txt=b"caf\xe9"), "the caption is not UTF-8"),
        (lambda sample: [sample.pop(part, None) for part in ("txt", "json", "cls")], "no caption or class"),
        (lambda sample: sample.update(json=b"{"), ".json is not JSON"),
        (lambda sample: sample.update(json=b"\xff"), ".json is not JSON"),
        (lambda sample: sample.update(json=b"[1]"), ".json is not an object"),
        (change_json(captions="a dog"), ".json: captions is not a list of sentences"),
        (change_json(captions=["a dog", ""]), ".json: captions is not a list of sentences"),
        (change_json(negatives=["a cat"]), ".json: negatives is not a list of as many sentences as there are captions"),
        (change_json(negatives="a cat"), ".json: negatives is not a list of as many sentences as there are captions"),
        (change_json(**{"class": 48}), "class 48 is not one of the 48, 0 to 47"),
        (change_json(**{"class": "dog"}), "class 'dog' is not one of the 48, 0 to 47"),
    ],
)
def test_a_sample_that_was_written_wrong(copy, edit, expected):
    key = rewrite(copy, edit)
    found = problems(copy)
    assert [(problem.shard, problem.key) for problem in found] == [(SHARD, key)]
    assert found[0].message.startswith(expected)


def test_captions_in_the_json_are_enough(copy):
    rewrite(copy, lambda sample: sample.pop("txt"))
    assert problems(copy) == []


def test_it_goes_on_behind_the_first_problem(copy):
    (copy / "train/000000.tar").unlink()
    key = rewrite(copy, lambda sample: sample.update(txt=b"", json=b"no"))
    overwrite(copy / "test/000000.tar", 600, b"?")
    found = problems(copy)
    assert [problem.shard for problem in found[:3]] == ["train/000000.tar", SHARD, SHARD]
    assert {problem.message for problem in found if problem.key == key} == {".json is not JSON", "the caption is empty"}
    assert found[-1].shard == "test/000000.tar"


def test_without_a_manifest_there_is_nothing_to_check_against(tmp_path):
    with pytest.raises(UserError, match="no manifest"):
        problems(tmp_path)


def test_an_empty_split_is_fine(copy):
    manifest = Manifest.load(copy)
    manifest.model_copy(update={"splits": {**manifest.splits, "holdout": []}}).save(copy)
    assert problems(copy) == []
