"""The cache of copies: its limit, who goes, who stays."""

import logging
import os

import pytest

from calligram.data import cache, index, remote
from calligram.data.dataset import Shards
from calligram.errors import UserError
from tests.data.test_loader import assert_equal, batches

GB = 10**9


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("CALLIGRAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(remote, "PATIENCE", remote.Patience(timeout=5, tries=2, wait=0.01))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def copy(name: str, size: int, age: float):
    path = cache.cached(f"http://h/{name}", "")
    path.write_bytes(bytes(size))
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_the_least_used_copies_go_and_what_was_made_of_them_stays(place, monkeypatch):
    monkeypatch.setenv("CALLIGRAM_CACHE_GB", str(1000 / GB))
    old, middle, new = (copy(name, 300, age) for name, age in (("a.tar", 30), ("b.tar", 20), ("c.tar", 10)))
    side_cars = [index.side_car(old), old.with_name(f"{old.name}.tokens-x-y-z.npy"), place / "notes.txt"]
    for path in side_cars:
        path.write_bytes(bytes(5000))
    cache.make_room(100)
    assert old.exists() and middle.exists()
    cache.make_room(200)
    assert not old.exists() and middle.exists() and new.exists() and all(path.exists() for path in side_cars)
    assert cache.is_there(middle, 300)  # looked for, and so used
    cache.make_room(700)
    assert middle.exists() and not new.exists()


def test_a_copy_that_is_open_stays(place, monkeypatch, caplog):
    monkeypatch.setenv("CALLIGRAM_CACHE_GB", str(1000 / GB))
    old, new = copy("a.tar", 300, 20), copy("b.tar", 300, 10)
    with old.open("rb") as file:
        assert cache.hold(file.fileno(), old)
        cache.make_room(500)
        assert old.exists() and not new.exists() and not caplog.text
        with caplog.at_level(logging.WARNING):
            cache.make_room(900)
        assert old.exists() and "more than the 1e-06 of CALLIGRAM_CACHE_GB: all of it is in use" in caplog.text
    cache.make_room(900)
    assert not old.exists()


def test_what_went_cannot_be_held(place):
    path = copy("a.tar", 10, 0)
    with path.open("rb") as file:
        path.unlink()
        assert not cache.hold(file.fileno(), path)


@pytest.mark.parametrize("said", ["many", "-1", "0", "nan", "inf"])
def test_a_limit_that_is_no_number(said, monkeypatch):
    monkeypatch.setenv("CALLIGRAM_CACHE_GB", said)
    with pytest.raises(UserError, match=f"CALLIGRAM_CACHE_GB is '{said}': give a number of gigabytes"):
        cache.make_room(1)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_with_room_for_one_shard_gives_the_same_batches(folder, far, place, monkeypatch, num_workers):
    largest = max(path.stat().st_size for path in (folder / "train").glob("*.tar"))
    monkeypatch.setenv("CALLIGRAM_CACHE_GB", str(largest / GB))
    monkeypatch.setattr("calligram.data.dataset.MAX_OPEN", 1)
    options = {"last": 12, "num_workers": num_workers, "lanes": 1, "shuffle_shards": 1}
    assert_equal(batches(far.url, **options), batches(folder, **options))
    if not num_workers:  # two workers may hold all of the three
        assert sum(count for path, count in far.requests.items() if path.endswith(".tar")) > 3


def test_a_shard_that_goes_in_the_very_moment_is_fetched_again(far, monkeypatch):
    shards, hold = Shards(far.url, "train"), cache.hold

    def too_late(file, path):
        monkeypatch.setattr(cache, "hold", hold)
        path.unlink()
        return hold(file, path)

    monkeypatch.setattr(cache, "hold", too_late)
    assert shards[0].captions and far.requests["/train/000000.tar"] == 2
