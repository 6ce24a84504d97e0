"""Benchmarks keep their full results, however often the quick way runs."""

import sys

import pytest

from benchmarks import harness


@pytest.mark.parametrize(("flags", "written"), [(["--quick"], "mine.quick.json"), ([], "mine.json")])
def test_the_quick_way_has_a_file_of_its_own(tmp_path, monkeypatch, flags, written):
    (tmp_path / "mine.json").write_text("full")
    monkeypatch.setattr(sys, "argv", ["mine.py", *flags])
    monkeypatch.setattr(harness, "write_json", lambda name, rows, packages: _write(tmp_path / f"{name}.json"))
    harness.run("mine", lambda quick: [], [])
    assert (tmp_path / written).read_text() == "new"
    assert (tmp_path / "mine.json").read_text() == ("full" if flags else "new")


def _write(path):
    path.write_text("new")
    return path
