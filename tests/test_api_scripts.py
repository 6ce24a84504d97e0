"""The two scripts that show the API run as they stand, on models that lie where `make demo` puts them."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture
def demo(tiny_runs, tmp_path, monkeypatch) -> Path:
    (tmp_path / "runs/demo").mkdir(parents=True)
    for name, run in (("shapes", tiny_runs.shards), ("clip", tiny_runs.clip), ("dalle", tiny_runs.dalle)):
        (tmp_path / "runs/demo" / name).symlink_to(run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(script: str, *words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, *words])
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")


def test_zero_shot(demo, monkeypatch, capsys):
    run("zero_shot.py", monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.endswith("%)") for line in lines)
    Image.new("RGB", (30, 20), "red").save("mine.png")
    run("zero_shot.py", "mine.png", monkeypatch=monkeypatch)
    assert capsys.readouterr().out.startswith("mine.png: ")


def test_generate(demo, monkeypatch, capsys):
    run("generate.py", "two red stars", monkeypatch=monkeypatch)
    assert "'two red stars'" in capsys.readouterr().out
    assert Image.open("picture.png").width > 4 * 16
