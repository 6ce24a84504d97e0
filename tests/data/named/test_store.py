"""What was made is there whole, once, or not at all."""

import multiprocessing
import os
import signal
import time

import pytest

from calligram.data.manifest import Manifest
from calligram.data.named.store import keep
from calligram.errors import UserError


def fill(folder):
    with open(os.environ["COUNT"], "a") as file:
        file.write("x")
    time.sleep(0.3)
    Manifest(name="x", licence="none", splits={}).save(folder)


def test_of_several_processes_one_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=keep, args=("a b", [1], fill)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "x"
    assert keep("a b", [1], fill).name == "a-b"
    assert keep("a b", [2], fill) != keep("a b", [1], fill)
    assert (tmp_path / "count").read_text() == "xx"


def test_what_is_broken_off_is_made_anew(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))

    def die(folder):
        (folder / "half").write_text("")
        os.kill(os.getpid(), signal.SIGKILL)

    def fail(folder):
        (folder / "half").write_text("")
        raise UserError("no")

    process = multiprocessing.get_context("fork").Process(target=keep, args=("a", [1], die))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(UserError, match=r"^no$"):
        keep("a", [1], fail)
    assert not list(cache.rglob("half"))
    assert [path.name for path in keep("a", [1], fill).iterdir()] == ["manifest.json"]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CALLIGRAM_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"a cannot be kept in .*make room there, or name another .*CALLIGRAM_CACHE"):
        keep("a", [1], fill)
