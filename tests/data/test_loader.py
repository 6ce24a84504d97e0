import numpy as np
import pytest
import torch
from PIL import Image

from calligram.data.dataset import Shards
from calligram.data.loader import Collate, DataConfig, TrainingSet, build_loader
from calligram.data.plan import SampleRef
from calligram.data.sources.folder import FolderSource
from calligram.data.transforms import AugmentConfig
from calligram.data.writer import write_shards
from calligram.errors import UserError


def lengths(captions: list[str]) -> torch.Tensor:
    """Stands in for a text tokenizer: each caption's length and first letter."""
    return torch.tensor([[len(c), ord(c[0])] for c in captions])


def training_set(folder, num_workers=0, tokens=None, negatives=False, **options) -> TrainingSet:
    config = DataConfig(shards=folder, num_workers=num_workers, augment=AugmentConfig(shift=2), **options)
    return TrainingSet(config, 16, tokens, negatives)


def batches(folder, first=0, last=5, num_workers=0, rank=0, world_size=1, seed=1):
    load = build_loader(training_set(folder, num_workers), 6, seed, lengths, rank, world_size)
    return list(load(first, last))


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys() == {"image", "text"}
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def expected(folder):
    """Steps 0 … 4 of batches of 6: more than one epoch of 23 samples."""
    return batches(folder)


def test_batches_are_stacked_pictures_and_ids(expected):
    assert [x["image"].shape for x in expected] == [(6, 3, 16, 16)] * 5
    assert expected[0]["image"].dtype == torch.uint8 and expected[0]["text"].shape == (6, 2)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_number_of_workers_does_not_show(folder, expected, num_workers):
    assert_equal(batches(folder, num_workers=num_workers), expected)


def test_a_loader_goes_on_in_the_middle_of_an_epoch(folder, expected):
    assert_equal(batches(folder, first=2), expected[2:])


def test_two_processes_share_each_batch(folder, expected):
    halves = [batches(folder, rank=rank, world_size=2) for rank in (0, 1)]
    together = [{name: torch.cat([a[name], b[name]]) for name in a} for a, b in zip(*halves, strict=True)]
    assert_equal(together, expected)


def test_another_seed_gives_other_batches(folder, expected):
    assert not torch.equal(batches(folder, last=1, seed=2)[0]["image"], expected[0]["image"])


def test_augmentation_and_caption_are_drawn_by_position(folder):
    data = training_set(folder)
    seen = [data[SampleRef(index=4, seed=seed)] for seed in range(30)]
    assert len({x["caption"] for x in seen}) > 1
    assert len({x["image"].numpy().tobytes() for x in seen}) > 1
    again = data[SampleRef(index=4, seed=7)]
    assert again["caption"] == seen[7]["caption"] and torch.equal(again["image"], seen[7]["image"])


def test_the_first_caption_is_taken_where_asked_for(folder, source):
    data = training_set(folder, captions="first")
    assert {data[SampleRef(4, seed)]["caption"] for seed in range(9)} == {source.sample("train", 4).captions[0]}


def test_a_negative_is_that_of_the_caption_and_changes_nothing_else(folder, source):
    plain, data = training_set(folder), training_set(folder, negatives=True)
    expected = source.sample("train", 4)
    read = set()
    for seed in range(30):
        sample, same = data[SampleRef(4, seed)], plain[SampleRef(4, seed)]
        assert sample["caption"] == same["caption"] and torch.equal(sample["image"], same["image"])
        read.add((sample["caption"], sample["negative"]))
    assert read == set(zip(expected.captions, expected.negatives, strict=True))


def test_negatives_become_ids_of_their_own(folder):
    samples = [training_set(folder, negatives=True)[SampleRef(i, 0)] for i in range(3)]
    batch = Collate(lengths)(samples)
    assert batch.keys() == {"image", "text", "negative_text"}
    assert batch["negative_text"].tolist() == lengths([s["negative"] for s in samples]).tolist()
    assert Collate(None)(samples).keys() == {"image"}


def test_data_without_negatives_is_refused_by_name(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "own.png")
    (tmp_path / "own.txt").write_text("a black square")
    write_shards(FolderSource(root=tmp_path, test_fraction=0), tmp_path / "shards")
    with pytest.raises(UserError, match=r"has 0 negatives for 1 captions: .* without hard_negatives"):
        training_set(tmp_path / "shards", negatives=True)


def test_with_tokens_no_picture_is_read(folder, monkeypatch):
    tokens = np.arange(23 * 4, dtype=np.uint16).reshape(23, 4)
    data = training_set(folder, tokens=tokens)
    pictured = training_set(folder)[SampleRef(4, 2)]
    monkeypatch.setattr(Shards, "read_image", lambda *_: pytest.fail("a picture was read"))
    sample = data[SampleRef(4, 2)]
    assert sample.keys() == {"caption", "image_tokens"}
    assert sample["image_tokens"].tolist() == [16, 17, 18, 19] and sample["image_tokens"].dtype == torch.int64
    assert sample["caption"] == pictured["caption"]


def test_without_a_text_tokenizer_there_are_pictures_alone(folder):
    data = training_set(folder)
    assert Collate(None)([data[SampleRef(0, 0)], data[SampleRef(1, 1)]]).keys() == {"image"}
