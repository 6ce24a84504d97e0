import io
import multiprocessing
import os
import pickle
import shutil
import tarfile

import pytest
from PIL import Image

from calligram.data import dataset
from calligram.data.bad import EMPTY, PICTURE, PIXELS, TEXT, BadSample
from calligram.data.catalogue import describe
from calligram.data.dataset import Shards, choose_caption
from calligram.data.draws import Draws
from calligram.data.manifest import Manifest
from calligram.data.shard import read_index
from calligram.errors import UserError


def summary(shards: Shards, i: int) -> tuple:
    record = shards[i]
    return record.key, record.captions, record.image().tobytes()


def put_summary(shards, i, queue):
    queue.put(summary(shards, i))


def test_samples_come_in_the_order_of_their_shards(shards, source):
    assert [shards[i].key for i in range(len(shards))] == [source.sample("train", i).key for i in range(23)]
    assert [shards.locate(i) for i in (0, 9, 10, 22)] == [(0, 0), (0, 9), (1, 0), (2, 2)]
    for i in (-1, 23):
        with pytest.raises(IndexError):
            shards[i]


def test_shards_can_be_read_after_a_fork_and_by_both_sides(shards):
    before = summary(shards, 12)  # the file is open in the parent when the child begins
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=put_summary, args=(shards, 12, queue))
    child.start()
    assert queue.get(timeout=60) == before == summary(shards, 12)
    child.join()
    assert summary(shards, 12) == before


def test_shards_travel_by_pickle_without_their_open_files(shards):
    before = summary(shards, 12)
    copy = pickle.loads(pickle.dumps(shards))  # noqa: S301 - what was pickled the moment before
    assert summary(copy, 12) == before
    assert copy.shard(1).file != shards.shard(1).file


def test_only_so_many_files_are_open_at_once(folder, monkeypatch):
    monkeypatch.setattr(dataset, "MAX_OPEN", 2)
    shards = Shards(folder, "train")
    keys = [shards[i].key for i in (0, 10, 20, 0, 20, 10)]
    assert len(shards._open) == 2
    assert keys == [f"train-{i:07d}" for i in (0, 10, 20, 0, 20, 10)]


def test_files_are_closed_with_the_shards(folder):
    shards = Shards(folder, "train")
    file = shards.shard(0).file
    os.fstat(file)
    del shards
    with pytest.raises(OSError):
        os.fstat(file)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_one_flipped_bit_is_noticed(copy):
    path = copy / "train" / "000000.tar"
    member = read_index(path)[3].members["png"]
    data = bytearray(path.read_bytes())
    data[member.offset + member.size // 2] ^= 1
    path.write_bytes(data)
    shards = Shards(copy, "train")
    assert shards[2].key == "train-0000002"
    with pytest.raises(
        UserError, match=r"000000\.tar is damaged, or its index is stale: \.png of sample train-0000003"
    ):
        shards[3]


def test_what_is_not_there_is_named(copy):
    with pytest.raises(UserError, match="split 'dev' is not in this data set; it has: train, test, holdout"):
        Shards(copy, "dev")
    with pytest.raises(UserError, match=r"split 'holdout' of .* has no samples"):
        Shards(copy, "holdout")
    (copy / "train" / "000001.tar").unlink()
    with pytest.raises(UserError, match=r"000001\.tar is missing"):
        Shards(copy, "train")


def test_a_shard_of_another_length_is_refused_before_anything_is_read(copy):
    path = copy / "train" / "000002.tar"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"000002\.tar has 5,000 bytes, the manifest says [\d,]+: fetch or make it"):
        Shards(copy, "train")


def test_a_shard_with_fewer_samples_than_the_manifest_says_is_refused(copy):
    manifest = Manifest.load(copy)
    first = manifest.splits["train"][0].model_copy(update={"num_samples": 11})
    manifest.model_copy(update={"splits": {"train": [first]}}).save(copy)
    with pytest.raises(UserError, match=r"000000\.tar has 10 samples, the manifest says 11"):
        Shards(copy, "train")[0]


def write_shard(folder, members: dict[str, bytes], **facts) -> Shards:
    """A data set of one shard with the members of one sample."""
    with tarfile.open(folder / "a.tar", "w") as tar:
        for extension, data in members.items():
            info = tarfile.TarInfo(f"key.{extension}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    Manifest(name="a", licence="none", splits={"train": [describe(folder / "a.tar", "a.tar")]}, **facts).save(folder)
    return Shards(folder, "train")


@pytest.mark.parametrize(
    ("members", "captions"),
    [
        ({"txt": b"a dog"}, ("a dog",)),
        ({"txt": b"a dog", "json": b'{"captions": ["a dog", "a hound"]}'}, ("a dog", "a hound")),
        ({"txt": b"a dog", "json": b'{"caption": "a hound", "width": 4}'}, ("a dog",)),  # as img2dataset writes it
        ({"json": b'{"caption": "a hound"}'}, ("a hound",)),
        ({"cls": b"1"}, ("a photo of a dog", "a dog")),  # as CLIP_benchmark writes it
    ],
)
def test_captions_are_taken_from_where_they_are(tmp_path, members, captions):
    facts = {"class_names": ["cat", "dog"], "templates": ["a photo of a {}", "a {}"]}
    assert write_shard(tmp_path, {"jpg": b"", **members}, **facts).read_captions(0) == captions


def test_a_class_is_read_from_cls(tmp_path):
    assert write_shard(tmp_path, {"jpg": b"", "txt": b"a", "cls": b"7\n"})[0].meta == {"class": 7}


@pytest.mark.parametrize(
    ("members", "reason", "message"),
    [
        ({"txt": b" \n"}, EMPTY, "has an empty caption"),
        ({"json": b'{"captions": ["a", ""]}'}, EMPTY, "has an empty caption"),
        ({"txt": b"caf\xe9"}, TEXT, "has unreadable text"),
        ({"json": b"{"}, TEXT, "has unreadable text"),
        ({"json": b"[1]"}, TEXT, "has unreadable text"),
        ({"json": b"[" * 100_000}, TEXT, "has unreadable text"),
        ({"json": b'{"captions": [1, 2]}'}, TEXT, "has unreadable text"),
        ({"json": b'{"captions": 5}'}, TEXT, "has unreadable text"),
        ({"json": b"{}"}, TEXT, "has no caption and no class with a name"),
        ({"cls": b"dog"}, TEXT, "has unreadable text"),
        ({"cls": b"9"}, TEXT, "has no caption and no class with a name"),
    ],
)
def test_words_that_cannot_be_used_are_named(tmp_path, members, reason, message):
    shards = write_shard(tmp_path, {"jpg": b"", **members}, class_names=["cat"])
    with pytest.raises(BadSample, match=rf"sample key of .*a\.tar {message}") as error:
        shards.read_captions(0)
    assert error.value.reason == reason


def picture(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", size).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"hello", PICTURE), (picture((90, 90))[:-30], PICTURE), (b"", PICTURE), (picture((12_000, 12_000)), PIXELS)],
)
def test_pictures_that_cannot_be_decoded_are_named(tmp_path, data, reason):
    shards = write_shard(tmp_path, {"png": data, "txt": b"a"})
    with pytest.raises(BadSample, match=r"sample key of .*a\.tar: .*; run `calligram data verify`") as error:
        shards[0].image()
    assert error.value.reason == reason


def test_any_caption_or_the_first():
    captions = ("a", "b", "c")
    chosen = [choose_caption(captions, "any", Draws(seed)) for seed in range(60)]
    assert set(chosen) == {0, 1, 2}
    assert {choose_caption(captions, "first", Draws(seed)) for seed in range(9)} == {0}
