"""`calligram evaluate`: models × tasks × data sets, what is kept of it, what fails, and what is refused."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from calligram.cli.main import main
from calligram.clip.model import Clip
from calligram.data.sources.folder import FolderSource
from calligram.data.sources.shapes import ShapesSource
from calligram.data.writer import write_shards
from calligram.errors import UserError
from calligram.eval import loading, product
from calligram.eval.estimate import mean
from calligram.eval.runner import tasks
from calligram.eval.task import EvalTask

SMALL = ["--max-samples", "6", "--num-captions", "3", "--num-candidates", "2"]


class Fake(EvalTask):
    """Measures nothing real, and counts how often it is asked."""

    name, needs = "fake", ("clip",)

    def __init__(self):
        self.asked, self.value = 0, 0.5

    def run(self, models, data, config):
        self.asked += 1
        if isinstance(self.value, Exception):
            raise self.value
        yield "clip.fake.share", mean([0.0, 1.0, 1.0, 0.0])
        yield "clip.fake.value", self.value
        yield "clip.fake.noise", float(torch.rand(()))
        yield "clip.fake.picture", Image.new("RGB", (4, 4), (0, 90, 0))


@pytest.fixture
def fake(monkeypatch) -> Fake:
    task = Fake()
    monkeypatch.setitem(tasks(), "fake", task)
    return task


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """Pictures of a colour with a caption and nothing else."""
    folder = tmp_path_factory.mktemp("plain")
    for number in range(8):
        Image.new("RGB", (20, 20), (30 * number, 0, 90)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"red number {number}")
    write_shards(FolderSource(root=folder, test_fraction=0.5), folder / "shards")
    return folder / "shards"


def read(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def without_times(results: dict) -> dict:
    cells = [{**cell, "seconds": 0} for cell in results["cells"]]
    return {**results, "cells": cells, "seconds": 0, "started": ""}


def test_every_model_meets_every_task_on_every_data_set(tiny_runs, plain, tmp_path, capsys):
    words = ["evaluate", "--model", str(tiny_runs.clip), "--model", f"{tiny_runs.dalle}+{tiny_runs.clip}"]
    words += ["--data", f"{tiny_runs.shards},{plain}", "--tasks", "retrieval,composition,negatives", *SMALL]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    results = read(tmp_path / "out")
    names = [(cell["model"], cell["data"], cell["task"]) for cell in results["cells"]]
    assert len(names) == len(set(names)) == 2 * 2 * 3
    status = {name: cell["status"] for name, cell in zip(names, results["cells"], strict=True)}
    assert status["dalle+clip", "shards", "composition"] == status["clip", "shards-2", "retrieval"] == "done"
    reasons = {name: cell["reason"] for name, cell in zip(names, results["cells"], strict=True)}
    assert reasons["clip", "shards", "composition"] == "it needs a DALL-E"
    assert reasons["dalle+clip", "shards-2", "composition"] == "it is not for data such as shards-2"
    assert reasons["clip", "shards-2", "negatives"] == "task negatives finds nothing to measure in shards-2"
    assert {"shards", "shards-2"} == {row["data"] for row in results["rows"] if row["metric"].startswith("clip.")}
    assert "clip, shards-2" in out and "clip.retrieval.text_recall_at_1" in out
    assert max(map(len, out.splitlines())) <= 80
    # the CLIP is the same in both rows, so that its cells are measured once
    assert "[1/5] clip, shards, retrieval" in err and "/5] dalle+clip, shards, composition" in err
    assert err.count("retrieval\n") == 2
    assert results["models"][1]["parts"].keys() == {"clip", "dalle", "space", "tokenizer"}
    assert results["config"]["max_samples"] == 6 and results["versions"]["torch"]


def test_what_is_finished_is_kept(tiny_runs, tmp_path, fake, capsys):
    words = ["evaluate", "--model", str(tiny_runs.clip), "--data", str(tiny_runs.shards), "--tasks", "fake"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    first = read(tmp_path / "a")
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert fake.asked == 1 and "1 of 1 cells are there already" in capsys.readouterr().err
    assert without_times(read(tmp_path / "a")) == without_times(first)
    # elsewhere it is measured again, and comes out the same
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    assert fake.asked == 2 and without_times(read(tmp_path / "b")) == without_times(first)
    # another config finds no cell, and harms none
    assert main([*words, "--out", str(tmp_path / "a"), "--seed", "1"]) == 0
    assert fake.asked == 3 and len(read(tmp_path / "a")["cells"]) == 1
    assert len(list((tmp_path / "a/cells").glob("*.json"))) == 2
    row = next(row for row in first["rows"] if row["metric"] == "clip.fake.share")
    assert row["low"] <= row["value"] == 0.5 <= row["high"] and row["count"] == 4
    picture = first["cells"][0]["pictures"]["clip.fake.picture"]
    assert Image.open(tmp_path / "a" / picture).getpixel((0, 0)) == (0, 90, 0)


@pytest.mark.parametrize("damage", ["cut", "other", "no picture"])
def test_a_damaged_cell_is_measured_anew(tiny_runs, tmp_path, fake, damage):
    words = ["evaluate", "--model", str(tiny_runs.clip), "--data", str(tiny_runs.shards), "--tasks", "fake"]
    words += ["--out", str(tmp_path)]
    assert main(words) == 0
    before = without_times(read(tmp_path))
    (path,) = (tmp_path / "cells").glob("*.json")
    if damage == "no picture":
        next(path.with_suffix("").glob("*.png")).unlink()
    else:
        path.write_text("{" if damage == "cut" else path.read_text().replace(path.stem, "0" * 32))
    assert main(words) == 0
    assert fake.asked == 2 and without_times(read(tmp_path)) == before


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (UserError("the sky fell"), "the sky fell"),
        (KeyError("x"), "KeyError: 'x'"),
        (float("nan"), "clip.fake.value came out as nan, which is no number"),
    ],
)
def test_what_fails_is_told_and_the_others_go_on(value, reason, tiny_runs, tmp_path, fake, capsys):
    fake.value = value
    words = ["evaluate", "--model", str(tiny_runs.clip), "--data", str(tiny_runs.shards), "--tasks", "fake,retrieval"]
    words += [*SMALL, "--out", str(tmp_path)]
    assert main(words) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"calligram: failed: clip on shards (fake): {reason}"
    results = read(tmp_path)
    assert [(cell["task"], cell["status"]) for cell in results["cells"]] == [("fake", "failed"), ("retrieval", "done")]
    assert results["cells"][0]["reason"] == reason
    assert "Traceback" in (tmp_path / f"cells/{results['cells'][0]['key']}.error.txt").read_text()
    fake.value = 0.5
    assert main(words) == 0  # what failed is tried again
    assert fake.asked == 2 and read(tmp_path)["cells"][0]["status"] == "done"
    assert not list((tmp_path / "cells").glob("*.error.txt"))


def test_one_system_is_one_flat_list(tiny_runs, tmp_path, capsys):
    words = ["evaluate", "--model", str(tiny_runs.clip), "--model", str(tiny_runs.tokenizer), *SMALL]
    words += ["--data", str(tiny_runs.shards)]
    assert main([*words, "--out", str(tmp_path / "found.json"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "found.json").read_text())
    assert {"clip.zero_shot.top1", "clip.retrieval.num_samples", "tokenizer.psnr_db"} <= printed.keys()
    assert all(isinstance(value, int | float) for value in printed.values())
    assert not (tmp_path / "cells").exists()


def test_several_systems_as_json_are_the_whole_results(tiny_runs, plain, fake, capsys):
    words = ["evaluate", "--model", str(tiny_runs.clip), "--data", f"{tiny_runs.shards},{plain}", "--tasks", "fake"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0].keys() >= {"model", "data", "metric", "value", "low"}


def test_bad_input_is_told_before_anything_is_loaded(tiny_runs, plain, tmp_path, monkeypatch, capsys):
    def load(*_):
        raise AssertionError("loaded")

    monkeypatch.setattr(loading, "load", load)
    (tmp_path / "file").write_text("")
    good = {"--model": str(tiny_runs.clip), "--data": str(tiny_runs.shards), "--tasks": "retrieval"}
    for change, message in [
        ({"--model": "nowhere"}, "nowhere does not exist"),
        ({"--tasks": "retreival"}, "did you mean retrieval?"),
        ({"--tasks": "composition"}, "task composition cannot run: it needs a DALL-E"),
        ({"--data": f"{tiny_runs.shards},nowhere"}, "nowhere does not exist"),
        ({"--split": "validation"}, "has no split 'validation', only"),
        ({"--rerank": str(tiny_runs.dalle)}, "is a dalle run, but a clip run is needed"),
        ({"--out": str(tmp_path / "file")}, "is a file: give a folder"),
        ({"--out": "x.json", "--data": f"{tiny_runs.shards},{plain}"}, "do not fit one list: give a folder"),
        ({"--device": "abacus"}, "is no device"),
    ]:
        words = [word for pair in {**good, **change}.items() for word in pair]
        assert main(["evaluate", *words]) == 2, message
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1


def test_a_clip_that_is_out_of_order_fails_in_a_line_and_what_does_not_need_it_goes_on(
    tiny_runs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(Clip, "encode_image", Clip.encode_text)
    words = ["evaluate", "--model", str(tiny_runs.clip), "--model", str(tiny_runs.tokenizer), *SMALL]
    assert main([*words, "--data", str(tiny_runs.shards), "--out", str(tmp_path)]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("calligram: failed")]
    assert len(told) == 1 and "its image tower cannot read a picture" in told[0]
    status = {cell["task"]: cell["status"] for cell in read(tmp_path)["cells"]}
    assert status.pop("reconstruction") == "done" and set(status.values()) == {"failed"}


def test_tables_and_a_page_are_written_from_the_results(tiny_runs, tmp_path, fake):
    words = ["evaluate", "--model", str(tiny_runs.clip), "--data", str(tiny_runs.shards), "--tasks", "fake"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    results = read(tmp_path)
    table, words, page = [(tmp_path / name).read_text() for name in ("results.csv", "results.md", "report.html")]
    assert len(list(csv.DictReader(table.splitlines()))) == len(results["rows"])
    assert "fake" in words and "<html" in page and results["machine"] in page
    assert results["cells"][0]["pictures"].keys() == {"clip.fake.picture"} and "data:image/png;base64," in page


def test_clip_benchmarks_own_files(tiny_runs, tmp_path):
    words = ["evaluate", "--model", str(tiny_runs.clip), "--data", str(tiny_runs.shards), *SMALL]
    assert main([*words, "--tasks", "zero-shot,retrieval", "--out", str(tmp_path)]) == 0
    found = [json.loads(path.read_text()) for path in sorted((tmp_path / "clip_benchmark").iterdir())]
    assert [each["task"] for each in found] == ["zeroshot_classification", "zeroshot_retrieval"]
    values = {row["metric"]: row["value"] for row in read(tmp_path)["rows"]}
    assert list(found[0]) == ["dataset", "model", "pretrained", "task", "metrics", "language"]
    assert found[0]["metrics"]["acc1"] == values["clip.zero_shot.top1"]
    assert found[1]["metrics"]["image_retrieval_recall@5"] == values["clip.retrieval.image_recall_at_5"]
    assert found[0]["dataset"] == "shards" and found[0]["model"] == "clip" and len(found[0]["pretrained"]) == 16


def test_the_row_of_a_model_does_not_depend_on_where_it_lies(tiny_runs, tmp_path, fake):
    shutil.copytree(tiny_runs.clip, tmp_path / "moved")
    for place in (tiny_runs.clip, tmp_path / "moved"):
        words = ["evaluate", "--model", str(place), "--data", str(tiny_runs.shards), "--tasks", "fake"]
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert fake.asked == 1


def test_an_interruption_leaves_what_was_finished(tiny_runs, tmp_path, fake, monkeypatch):
    second = Fake()
    second.name = "second"
    monkeypatch.setitem(tasks(), "second", second)
    measure = product.measure

    def interrupted(task, *rest):
        if task is second and second.asked == 0:
            second.asked = 1
            raise KeyboardInterrupt
        return measure(task, *rest)

    monkeypatch.setattr(product, "measure", interrupted)
    words = ["evaluate", "--model", str(tiny_runs.clip), "--data", str(tiny_runs.shards), "--tasks", "fake,second"]
    words += ["--out", str(tmp_path)]
    assert main(words) == 130 and not (tmp_path / "results.json").exists()
    assert main(words) == 0
    assert fake.asked == 1 and len(read(tmp_path)["cells"]) == 2


def test_a_small_data_set_of_its_own_name(tiny_runs, tmp_path, fake, monkeypatch):
    write_shards(ShapesSource(num_samples=1, num_test=3, num_holdout=0), tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    words = ["evaluate", "--model", str(tiny_runs.clip), "--data", ".", "--tasks", "fake", "--out", "../out"]
    assert main(words) == 0
    assert read(tmp_path / "out")["data"][0]["name"] == "mine"
