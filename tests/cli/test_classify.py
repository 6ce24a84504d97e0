"""``calligram classify``: one table or a line of JSON a picture; what cannot be read is told and passed over."""

import json
import shutil

import pytest
from PIL import Image

import calligram
from calligram.cli.main import main

LABELS = ["--labels", "a red circle,a blue circle,two stars"]


@pytest.fixture
def model(tiny_runs) -> list[str]:
    return ["--model", str(tiny_runs.clip)]


def rows(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_table_with_the_best_first(pictures, model, capsys):
    assert main(["classify", "red.png", "blue.png", *LABELS, *model]) == 0
    out, err = capsys.readouterr()
    header, *lines = out.splitlines()
    assert header.split() == ["picture", "label", "probability"]
    assert [line.startswith(("red.png", "blue.png")) for line in lines] == [True, False, False] * 2
    probabilities = [float(word) for line in lines for word in line.split() if word.startswith("0.")]
    assert sorted(probabilities[:3], reverse=True) == probabilities[:3]
    assert sum(probabilities[:3]) == pytest.approx(1, abs=0.002)
    assert max(map(len, out.splitlines())) <= 80
    assert "█" in lines[0]
    assert err == ""


def test_the_same_numbers_as_from_python(pictures, model, tiny_runs, capsys):
    assert main(["classify", "red.png", *LABELS, *model, "--json"]) == 0
    (row,) = rows(capsys)
    expected = calligram.load_clip(tiny_runs.clip).classify([Image.open("red.png")], LABELS[1].split(","))[0]
    assert row["picture"] == "red.png"
    found = {each["label"]: each["probability"] for each in row["labels"]}
    assert found == pytest.approx(dict(zip(LABELS[1].split(","), expected.tolist(), strict=True)), abs=1e-5)


def test_top_k_and_labels_from_a_file(pictures, model, capsys):
    (pictures / "labels.txt").write_text("\ufeffa red circle\n\n  two stars\na red circle\n", encoding="utf-8")
    assert main(["classify", "red.png", "--labels-file", "labels.txt", *model, "--json"]) == 0
    assert {each["label"] for each in rows(capsys)[0]["labels"]} == {"a red circle", "two stars"}
    assert main(["classify", "red.png", *LABELS, *model, "--json", "--top-k", "1"]) == 0
    assert len(rows(capsys)[0]["labels"]) == 1


def test_templates(pictures, model, tiny_runs, capsys):
    templates = ["a {}", "the {}"]
    flags = [word for template in templates for word in ("--template", template)]
    assert main(["classify", "red.png", "--labels", "star,ring", *flags, *model, "--json"]) == 0
    clip = calligram.load_clip(tiny_runs.clip)
    expected = clip.classify([Image.open("red.png")], ["star", "ring"], templates)[0]
    found = {each["label"]: each["probability"] for each in rows(capsys)[0]["labels"]}
    assert found == pytest.approx({"star": float(expected[0]), "ring": float(expected[1])}, abs=1e-5)


def test_folders_and_patterns(pictures, model, capsys):
    (pictures / "more/inside").mkdir(parents=True)
    shutil.copy("red.png", "more/inside/a.PNG")
    shutil.copy("blue.png", "more/b.png")
    (pictures / "more/notes.txt").write_text("no picture")
    assert main(["classify", "more", "*e*.png", "red.png", *LABELS, *model, "--json"]) == 1
    names = [row["picture"] for row in rows(capsys)]
    assert names == ["more/b.png", "more/inside/a.PNG", "blue.png", "broken.png", "red.png", "text.png"]


def test_the_rest_goes_on_where_some_are_bad(pictures, model, capsys):
    assert main(["classify", "text.png", "red.png", "gone.png", *LABELS, *model, "--json"]) == 1
    out, err = capsys.readouterr()
    bad, good, gone = map(json.loads, out.splitlines())
    assert bad == {"picture": "text.png", "error": "not an image in a known format"}
    assert len(good["labels"]) == 3
    assert gone["error"] == "no such file"
    assert err.splitlines() == [
        "calligram: text.png: not an image in a known format",
        "calligram: gone.png: no such file",
        "calligram: 2 of 3 pictures could not be read",
    ]


def test_more_pictures_than_go_through_the_model_at_once(pictures, model, capsys, monkeypatch):
    monkeypatch.setattr("calligram.cli.verbs.classify.PICTURES_AT_ONCE", 2)
    for number in range(5):
        Image.new("RGB", (16, 16), (50 * number, 0, 0)).save(f"grey{number}.png")
    assert main(["classify", "grey*.png", *LABELS, *model, "--json"]) == 0
    in_parts = rows(capsys)
    monkeypatch.setattr("calligram.cli.verbs.classify.PICTURES_AT_ONCE", 99)
    assert main(["classify", "grey*.png", *LABELS, *model, "--json"]) == 0
    for part, whole in zip(in_parts, rows(capsys), strict=True):
        assert part["picture"] == whole["picture"]
        assert [x["label"] for x in part["labels"]] == [x["label"] for x in whole["labels"]]


def test_the_only_run_is_taken_and_named(pictures, tiny_runs, capsys):
    shutil.copytree(tiny_runs.clip, "runs/demo/clip")
    shutil.copytree(tiny_runs.dalle, "runs/demo/dalle")
    assert main(["classify", "red.png", *LABELS]) == 0
    assert capsys.readouterr().err == "taking runs/demo/clip, the only CLIP run in runs/\n"
    shutil.copytree(tiny_runs.clip, "runs/another")
    assert main(["classify", "red.png", *LABELS]) == 2
    assert "several CLIP runs, runs/another, runs/demo/clip: name one as --model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["text.png", *LABELS], "cannot read text.png: not an image in a known format"),
        (["broken.png", *LABELS], "cannot read broken.png: damaged image: "),
        (["gone.png", *LABELS], "cannot read gone.png: no such file"),
        (["gone.png", "text.png", *LABELS], "cannot read gone.png and 1 more: no such file"),
        (["*.jpg", *LABELS], "no file matches '*.jpg'"),
        (["empty", *LABELS], "folder empty has no pictures ("),
        (["red.png", "--labels", ""], "the list of labels is empty"),
        (["red.png", "--labels", " , "], "the list of labels is empty"),
        (["red.png"], "the list of labels is empty"),
        (["red.png", "--labels-file", "gone.txt"], "cannot read --labels-file gone.txt: No such file or directory"),
        (["red.png", "--labels-file", "red.png"], "--labels-file red.png is not a UTF-8 text"),
        (["red.png", "--labels-file", "empty.txt"], "the list of labels is empty"),
        (["red.png", "--labels-file", "empty.txt", *LABELS], "both --labels and --labels-file"),
        (["red.png", *LABELS, "--template", "a picture"], "template 'a picture' has no {}"),
        (["red.png", *LABELS, "--top-k", "0"], "--top-k 0: should be greater than or equal to 1"),
        (["red.png", *LABELS, "--device", "abacus"], "--device 'abacus' is no device"),
        (["red.png", *LABELS, "--device", "cuda:99"], "--device 'cuda:99': torch sees "),
        (["red.png", "--labels", "so " * 60], "'so so so so "),
        (LABELS, "missing: IMAGE...; name at least one picture or folder"),
    ],
)
def test_bad_input_is_one_line(pictures, model, capsys, words, line):
    (pictures / "empty").mkdir()
    (pictures / "empty.txt").write_text("\n")
    assert main(["classify", *words, *model]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"calligram: error: {line}")
    assert err.count("\n") == 1


def test_bad_runs_are_one_line(pictures, tiny_runs, capsys):
    (pictures / "empty").mkdir()
    untrained = pictures / "runs/untrained"
    shutil.copytree(tiny_runs.clip, untrained, ignore=shutil.ignore_patterns("step_*"))
    for words, line in (
        ([], "no trained CLIP run in runs/: name one as --model, or train one first"),
        (["--model", "gone"], "run folder gone does not exist"),
        (["--model", "empty"], "empty is not a run folder: it has no config.json"),
        (["--model", str(untrained)], f"{untrained} has no weights"),
        (["--model", str(tiny_runs.dalle)], f"{tiny_runs.dalle} is a dalle run, but a clip run is needed here"),
    ):
        assert main(["classify", "red.png", *LABELS, *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"calligram: error: {line}")
        assert err.count("\n") == 1
