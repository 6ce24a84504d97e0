import json
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest

from calligram.data import dataset, index
from calligram.data.dataset import Shards, choose_caption
from calligram.errors import UserError


def summary(shards: Shards, i: int) -> tuple:
    record = shards[i]
    return record.key, record.captions, record.image().tobytes()


def put_summary(shards, i, queue):
    queue.put(summary(shards, i))


def test_samples_come_in_the_order_of_their_shards(shards, source):
    assert [shards[i].key for i in range(len(shards))] == [source.sample("train", i).key for i in range(23)]
    assert shards.ranges == [range(10), range(10, 20), range(20, 23)]


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
    assert set(shards._files.values()).isdisjoint(copy._files.values())


def test_only_so_many_files_are_open_at_once(folder, monkeypatch):
    monkeypatch.setattr(dataset, "MAX_OPEN_FILES", 2)
    shards = Shards(folder, "train")
    keys = [shards[i].key for i in (0, 10, 20, 0, 20, 10)]
    assert len(shards._files) == 2
    assert keys == [f"train-{i:07d}" for i in (0, 10, 20, 0, 20, 10)]


def test_files_are_closed_with_the_shards(folder):
    shards = Shards(folder, "train")
    shards.read_image(0)
    (file,) = shards._files.values()
    os.fstat(file)
    del shards
    with pytest.raises(OSError):
        os.fstat(file)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_one_flipped_bit_is_noticed(copy):
    path = copy / "train" / "000000.tar"
    member = index.read(path)[3].members["png"]
    data = bytearray(path.read_bytes())
    data[member.offset + member.size // 2] ^= 1
    path.write_bytes(data)
    shards = Shards(copy, "train")
    assert shards[2].key == "train-0000002"
    with pytest.raises(
        UserError, match=r"000000\.tar is damaged, or its index is stale: \.png of sample train-0000003"
    ):
        shards[3]


def test_a_tar_that_ends_too_early_for_its_index_is_noticed(copy):
    path = copy / "train" / "000000.tar"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"000000\.tar is damaged"):
        Shards(copy, "train")[9]


def test_without_a_checksum_the_length_is_still_checked(copy):
    def forget_checksums(members):
        for member in members.values():
            member[2] = None

    shards = rewrite(copy, forget_checksums)
    whole = shards[4].image_bytes
    path = copy / "train" / "000000.tar"
    member = index.read(path)[4].members["png"]
    path.write_bytes(path.read_bytes()[: member.offset + len(whole) - 1])
    with pytest.raises(UserError, match=r"000000\.tar is damaged"):
        Shards(copy, "train").read_image(4)


def test_what_is_not_there_is_named(copy):
    with pytest.raises(UserError, match="split 'dev' is not in this data set; it has: train, test, holdout"):
        Shards(copy, "dev")
    with pytest.raises(UserError, match=r"split 'holdout' of .* has no samples"):
        Shards(copy, "holdout")
    (copy / "train" / "000001.tar").unlink()
    with pytest.raises(UserError, match=r"000001\.tar is missing"):
        Shards(copy, "train")


def rewrite(copy, change) -> Shards:
    """The first shard's index with something changed in each sample's members."""
    path = index.side_car(copy / "train" / "000000.tar")
    rows = json.loads(path.read_text())
    for _, members in rows:
        change(members)
    path.write_text(json.dumps(rows))
    return Shards(copy, "train")


def test_captions_are_taken_from_txt_where_there_is_no_json(copy, source):
    shards = rewrite(copy, lambda members: members.pop("json"))
    assert shards[4].captions == (source.sample("train", 4).captions[0],)
    assert shards[4].meta == {}


def test_a_sample_without_picture_or_text_is_named(copy):
    shards = rewrite(copy, lambda members: members.pop("png"))
    assert shards.read_captions(4)
    with pytest.raises(UserError, match=r"sample train-0000004 of .*000000\.tar has no picture"):
        shards[4]
    shards = rewrite(copy, lambda members: (members.pop("json"), members.pop("txt")))
    with pytest.raises(UserError, match=r"sample train-0000004 of .*000000\.tar has no \.txt"):
        shards.read_captions(4)


def test_text_that_cannot_be_read_is_named(copy):
    def picture_as_text(members):
        members["json"] = members["png"]

    with pytest.raises(UserError, match=r"sample train-0000004 of .* has unreadable text"):
        rewrite(copy, picture_as_text).read_captions(4)


def test_any_caption_or_the_first():
    captions = ("a", "b", "c")
    chosen = [choose_caption(captions, "any", np.random.default_rng(seed)) for seed in range(60)]
    assert set(chosen) == {0, 1, 2}
    assert {choose_caption(captions, "first", np.random.default_rng(seed)) for seed in range(9)} == {0}
