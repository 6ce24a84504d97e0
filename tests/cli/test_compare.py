"""`calligram compare`: a table that fits 80 columns, and the same as JSON."""

import json

import pytest

from calligram.cli.main import main
from tests.eval.test_compare import results, row

LONG = "dalle.generative_zero_shot.holdout_clip_top1_of_many"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    sides = [
        results(row("clip.a", 0.5, 0.03), row(LONG, -123456.789, 1234.5), row("only.a", 1.0)),
        results(row("clip.a", 0.56, 0.04), row(LONG, -123456.0, 1234.5), digest="y"),
    ]
    for name, side in zip("ab", sides, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(side))
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def test_differences_stand_in_a_table(folders, capsys):
    assert main(["compare", *folders]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "m, d" and lines[1].split()[:3] == ["metric", "first", "second"]
    assert lines[2].split() == ["clip.a", "0.5", "0.56", "+0.06", "+0.01", "to", "+0.11", "*"]
    assert not lines[3].endswith("*") and max(map(len, lines)) <= 80
    assert "not the same data: d differs by its digest" in err and f"only in {folders[0]}: 1 figure\n" in err


def test_the_same_as_json(folders, capsys):
    assert main(["compare", *folders, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["differs"] for each in found] == [True, False]
    assert found[0]["difference"] == pytest.approx(0.06)


def test_an_evaluation_that_is_not_there(folders, capsys):
    assert main(["compare", folders[0], "nowhere"]) == 2
    assert "nowhere has no results.json" in capsys.readouterr().err
