"""Shards are there before the training comes to them, and no more of them than it was told."""

import time

import pytest

from calligram.data import remote
from calligram.errors import UserError
from tests.data.test_loader import assert_equal, batches, loader

ONE_BY_ONE = {"lanes": 1, "shuffle_shards": 1, "num_workers": 0}  # a shard is read to its end before the next


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CALLIGRAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(remote, "PATIENCE", remote.Patience(timeout=5, tries=1, wait=0.01))
    monkeypatch.setattr("calligram.data.ahead.PAUSE", 0.01)


def fetched(far, at_least: int) -> int:
    """How many shards have been asked for, half a second after there are so many."""
    end = time.monotonic() + 20
    while sum(path.endswith(".tar") for path in far.requests) < at_least:
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.5)
    return sum(path.endswith(".tar") for path in far.requests)


@pytest.mark.parametrize("fetch_ahead", [0, 1, 16])
def test_so_many_shards_are_there_before_they_are_needed(far, fetch_ahead):
    ours = loader(far.url, fetch_ahead=fetch_ahead, **ONE_BY_ONE)
    order = shards_in_order(ours)
    steps = iter(ours)
    for step in range(2):
        next(steps)
        needed = len({ref.shard for done in range(step + 1) for ref in ours.plan.batch(done)})
        there = min(needed + fetch_ahead, len(order))
        assert fetched(far, there) == there
    steps.close()


def shards_in_order(ours) -> list[int]:
    return list(dict.fromkeys(ref.shard for step in range(5) for ref in ours.plan.batch(step)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_shard_is_asked_for_once_and_the_batches_are_the_same(far, folder, num_workers):
    options = ONE_BY_ONE | {"num_workers": num_workers}
    assert_equal(batches(far.url, **options), batches(folder, **options))
    assert [count for path, count in far.requests.items() if path.endswith(".tar")] == [1, 1, 1]


def test_a_shard_that_cannot_be_had_is_an_error_when_it_is_needed(far):
    ours = loader(far.url, **ONE_BY_ONE)
    last = shards_in_order(ours)[-1]
    far.faults[f"/train/{last:06}.tar"] = ["404!"]
    seen = []
    with pytest.raises(UserError, match=f"{last:06}.tar: the server answers 404"):
        for batch in ours:
            seen.append(batch)
            fetched(far, 2)
    assert seen


def test_data_on_this_machine_need_no_threads(folder, monkeypatch):
    monkeypatch.setattr("threading.Thread.start", lambda self: pytest.fail(f"{self} was started"))
    assert batches(folder, **ONE_BY_ONE)
