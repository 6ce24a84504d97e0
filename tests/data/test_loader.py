import json
import shutil
from collections import Counter

import pytest
import torch
from PIL import Image

from calligram.data.dataset import Shards
from calligram.data.loader import Batches, Collate
from calligram.data.manifest import Manifest
from calligram.data.plan import SampleRef
from calligram.data.shard import Shard, read_index
from calligram.data.sources.folder import FolderSource
from calligram.data.sources.shapes import ShapesSource
from calligram.data.tokens import Tokens, write_tokens
from calligram.data.training import DataConfig, TrainingSet
from calligram.data.transforms import AugmentConfig
from calligram.data.writer import write_shards
from calligram.errors import UserError


def lengths(captions: list[str]) -> torch.Tensor:
    """Stands in for a text tokenizer: each caption's length and first letter."""
    return torch.tensor([[len(c), ord(c[0])] for c in captions])


def training_set(folder, num_workers=0, tokens=(), negatives=False, **options) -> TrainingSet:
    config = DataConfig(shards=folder, num_workers=num_workers, augment=AugmentConfig(shift=2), **options)
    return TrainingSet(config, 16, tokens, negatives)


def ref(number: int, position: int) -> SampleRef:
    return SampleRef(0, number // 10, number % 10, position)


def loader(folder, last=5, rank=0, world_size=1, seed=1, **options) -> Batches:
    return Batches(training_set(folder, **options), 6, last, seed, lengths, rank, world_size)


def batches(folder, first=0, **options):
    batches = loader(folder, **options)
    batches.step = first
    return list(batches)


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
    seen = [data[ref(4, seed)] for seed in range(30)]
    assert len({x["caption"] for x in seen}) > 1
    assert len({x["image"].numpy().tobytes() for x in seen}) > 1
    again = data[ref(4, 7)]
    assert again["caption"] == seen[7]["caption"] and torch.equal(again["image"], seen[7]["image"])


def test_the_first_caption_is_taken_where_asked_for(folder, source):
    data = training_set(folder, captions="first")
    assert {data[ref(4, seed)]["caption"] for seed in range(9)} == {source.sample("train", 4).captions[0]}


def test_a_negative_is_that_of_the_caption_and_changes_nothing_else(folder, source):
    plain, data = training_set(folder), training_set(folder, negatives=True)
    expected = source.sample("train", 4)
    read = set()
    for seed in range(30):
        sample, same = data[ref(4, seed)], plain[ref(4, seed)]
        assert sample["caption"] == same["caption"] and torch.equal(sample["image"], same["image"])
        read.add((sample["caption"], sample["negative"]))
    assert read == set(zip(expected.captions, expected.negatives, strict=True))


def test_negatives_become_ids_of_their_own(folder):
    samples = [training_set(folder, negatives=True)[ref(i, 0)] for i in range(3)]
    batch = Collate(lengths)(samples)
    assert batch.keys() == {"image", "text", "negative_text", "replaced"}
    assert batch["negative_text"].tolist() == lengths([s["negative"] for s in samples]).tolist()
    assert Collate(None)(samples).keys() == {"image", "replaced"}


def test_captions_may_become_ids_of_other_tokenizers_too(folder):
    samples = [training_set(folder)[ref(i, 0)] for i in range(3)]
    batch = Collate(lengths, {"letters": lambda texts: 10 * lengths(texts)})(samples)
    assert batch.keys() == {"image", "text", "letters", "replaced"}
    assert torch.equal(batch["letters"], 10 * batch["text"])


def test_data_without_negatives_is_refused_by_name(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "own.png")
    (tmp_path / "own.txt").write_text("a black square")
    write_shards(FolderSource(root=tmp_path, test_fraction=0), tmp_path / "shards")
    with pytest.raises(UserError, match=r"has 0 negatives for 1 captions: .* train with --no-hard-negatives"):
        training_set(tmp_path / "shards", negatives=True)


def test_with_tokens_no_picture_is_read(folder, tmp_path, monkeypatch):
    copy = shutil.copytree(folder, tmp_path / "copy")
    shards = Shards(copy, "train")
    write_tokens(shards, "abc", 16, lambda images: images.flatten(1)[:, :4].long())
    data = training_set(copy, tokens=[Tokens(shards, "abc")])
    pictured = training_set(copy)[ref(14, 2)]
    monkeypatch.setattr(Shard, "read_image", lambda *_: pytest.fail("a picture was read"))
    sample = data[ref(14, 2)]
    assert sample.keys() == {"caption", "image_tokens", "replaced"} and sample["replaced"] is None
    assert sample["image_tokens"].tolist() == Tokens(shards, "abc").rows(1)[4].tolist()
    assert sample["image_tokens"].dtype == torch.int64
    assert sample["caption"] == pictured["caption"]


def test_without_a_text_tokenizer_there_are_pictures_alone(folder):
    data = training_set(folder)
    assert Collate(None)([data[ref(0, 0)], data[ref(1, 1)]]).keys() == {"image", "replaced"}


# --- state


def test_a_loader_goes_on_from_its_state_with_other_workers_and_processes(folder, expected):
    first = loader(folder, num_workers=2)
    seen = [batch for _, batch in zip(range(2), first, strict=False)]
    state = json.loads(json.dumps(first.state_dict()))
    assert state["step"] == 2
    rests = []
    for rank in range(3):
        rest = loader(folder, rank=rank, world_size=3)
        rest.load_state_dict(state)
        rests.append(list(rest))
    together = [{name: torch.cat([x[name] for x in step]) for name in step[0]} for step in zip(*rests, strict=True)]
    assert_equal(seen + together, expected)


def test_the_state_is_the_same_in_every_process_and_never_grows(folder):
    states = [loader(folder, rank=rank, world_size=2, num_workers=rank).state_dict() for rank in (0, 1)]
    assert states[0] == states[1]
    late = loader(folder, last=10**6)
    late.step = 999_999
    assert len(json.dumps(late.state_dict())) < 600


@pytest.mark.parametrize(
    ("options", "field"),
    [({"seed": 2}, "seed"), ({"lanes": 2}, "lanes"), ({"shuffle_shards": 2}, "shuffle_shards")],
)
def test_a_state_of_another_order_is_refused_by_field(folder, options, field):
    state = loader(folder).state_dict()
    with pytest.raises(UserError, match=rf"cannot go on in the middle of this data: {field} was \d+ and is 2"):
        loader(folder, **options).load_state_dict(state)


def test_a_state_of_other_data_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    state = loader(folder).state_dict()
    loader(copy).load_state_dict(state)  # where it lies does not matter
    manifest = Manifest.load(copy)
    changed = manifest.splits["train"][0].model_copy(update={"sha256": "0" * 64})
    splits = {**manifest.splits, "train": [changed, *manifest.splits["train"][1:]]}
    manifest.model_copy(update={"splits": splits}).save(copy)
    with pytest.raises(UserError, match="data was"):
        loader(copy).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"world_size": 4}, "batch_size 6 is not divisible by the 4 processes"),
        ({"world_size": 3, "lanes": 2}, "2 lanes do not fit a batch of 6 on 3 processes: .* say 3"),
        ({"lanes": 4}, "4 lanes do not fit a batch of 6 on 1 processes: .* say 3"),
    ],
)
def test_lanes_that_cannot_be_shared_are_refused(folder, options, message):
    with pytest.raises(UserError, match=message):
        loader(folder, **options)


# --- bad samples


def damage(folder, *numbers: int) -> None:
    for number in numbers:
        path = folder / "train" / f"{number // 10:06d}.tar"
        member = read_index(path)[number % 10].members["png"]
        with path.open("r+b") as file:
            file.seek(member.offset + 40)
            file.write(b"damage")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_bad_sample_is_replaced_counted_and_moves_no_other(folder, tmp_path, expected, num_workers, caplog):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy, 3, 12)
    found = loader(copy, num_workers=num_workers)
    steps = list(found)
    different = [
        sum(not torch.equal(x, y) for x, y in zip(ours["image"], theirs["image"], strict=True))
        for ours, theirs in zip(steps, expected, strict=True)
    ]
    assert sum(different) == found.ledger.replaced == found.ledger.reasons["checksum"] > 0
    assert found.ledger.delivered == 30
    assert found.facts()["bad_samples/checksum"] == found.ledger.replaced
    assert f"{found.ledger.replaced} of 30 samples: {found.ledger.replaced} x checksum; the first: " in caplog.text
    again = [batch["image"] for batch in loader(copy)]
    assert all(torch.equal(ours["image"], theirs) for ours, theirs in zip(steps, again, strict=True))


def test_counts_go_on_with_the_state_and_over_processes(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy, *range(0, 20, 2))
    whole = loader(copy)
    list(whole)
    halves = [loader(copy, rank=rank, world_size=2) for rank in (0, 1)]
    for half in halves:
        list(half)
    ledgers = [half.ledger for half in halves]
    delivered, bad = sum(x.delivered for x in ledgers), sum(x.reasons["checksum"] for x in ledgers)
    for half in halves:
        half.sum_over_processes = lambda counts: [delivered, bad, 0, 0, 0, 0]
    assert halves[0].facts() == halves[1].facts() == whole.facts()
    rest = loader(copy, last=8)
    rest.load_state_dict(whole.state_dict())
    assert rest.facts() == whole.facts()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_many_bad_samples_end_the_training(folder, tmp_path, num_workers):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy, *range(0, 20, 2))
    message = r"\d+ of \d+ samples were bad, more than 0\.0%: \d+ x checksum; the first: .*tar"
    with pytest.raises(UserError, match=message):
        list(loader(copy, max_bad=0, num_workers=num_workers))


def test_bad_samples_in_a_row_end_the_training(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy, *range(0, 9), *range(10, 19), 20, 21)
    with pytest.raises(UserError, match=r"^5 bad samples in a row: 5 x checksum"):
        list(loader(copy, max_bad_in_a_row=5, max_bad=1))


def test_a_shard_without_a_good_sample_is_an_error_of_one_line(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy, 20, 21, 22)
    with pytest.raises(UserError, match=r"sample train-000002\d does .* 100 more samples of that shard are bad, too$"):
        list(loader(copy, num_workers=1))


# --- mixing


def test_sources_are_mixed_by_weight(folder, tmp_path):
    other = tmp_path / "other"
    write_shards(ShapesSource(num_samples=9, num_test=0, num_holdout=0, seed=5), other)
    mixed = loader(folder, last=40, mix=(other,), weights=(1, 3))
    counts = Counter(ref.source for step in range(40) for ref in mixed.plan.batch(step))
    assert counts == {0: 60, 1: 180}
    whole = list(mixed)
    rest = loader(folder, last=40, mix=(other,), weights=(1, 3), num_workers=2)
    rest.load_state_dict({**mixed.state_dict(), "step": 33})
    assert_equal(list(rest), whole[33:])
    with pytest.raises(UserError, match="weights was"):
        loader(folder, mix=(other,), weights=(1, 2)).load_state_dict(mixed.state_dict())


def test_as_many_weights_as_sources(folder):
    with pytest.raises(UserError, match="1 weights for 2 data sets: give one for each"):
        loader(folder, mix=(folder,), weights=(1,))
