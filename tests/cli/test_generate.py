"""``calligram generate``: the best of the drawings, what it was made from, and a sheet of all."""

import json

import pytest
from PIL import Image

import calligram
from calligram.cli.main import main
from calligram.dalle.sampling import SamplingConfig
from calligram.eval.rerank import clip_scores

PROMPT = "a red circle"


@pytest.fixture
def draw(pictures, tiny_runs):
    return lambda *words, prompt=PROMPT: main(["generate", prompt, "--model", str(tiny_runs.dalle), *words])


def pixels(image: Image.Image) -> list:
    return list(image.convert("RGB").getdata())


def test_without_a_clip_it_is_the_first(draw, tiny_runs, capsys):
    assert draw("-n", "3", "--seed", "5", "--out", "new/folder/a.png", "--scale", "1") == 0
    out, err = capsys.readouterr()
    assert out == "new/folder/a.png\n"
    assert err == "first of 3: seed 5\n"
    (expected, *_) = calligram.load_dalle(tiny_runs.dalle).generate(PROMPT, num_images=3, seed=5)
    assert pixels(Image.open("new/folder/a.png")) == pixels(expected)


def test_a_clip_chooses_the_best(draw, tiny_runs, capsys):
    rerank = ["--rerank", str(tiny_runs.clip)]
    assert draw("-n", "6", *rerank, "--out", "a.png", "--scale", "1", "--grid", "grid.jpg", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    drawn = calligram.load_dalle(tiny_runs.dalle).generate(PROMPT, num_images=6)
    scores = clip_scores(calligram.load_clip(tiny_runs.clip), drawn, PROMPT).tolist()
    order = sorted(range(6), key=lambda i: -scores[i])
    assert [candidate["seed"] for candidate in report["candidates"]] == order
    assert [candidate["score"] for candidate in report["candidates"]] == pytest.approx([scores[i] for i in order])
    assert pixels(Image.open("a.png")) == pixels(drawn[order[0]])
    assert report["picture"] == "a.png"
    assert report["grid"] == "grid.jpg"
    assert Image.open("grid.jpg").format == "JPEG"


def test_a_png_tells_how_to_draw_it_again(draw, tiny_runs, capsys):
    flags = ["--guidance", "2", "--temperature", "0.5", "--top-k", "3", "--scale", "1"]
    assert draw("-n", "5", "--rerank", str(tiny_runs.clip), *flags, "--out", "a.png", "--grid", "g.png") == 0
    told = Image.open("a.png").info
    assert told["prompt"] == PROMPT
    assert told["model"] == str(tiny_runs.dalle)
    asked = SamplingConfig(temperature=0.5, top_k=3, guidance=2.0)
    assert json.loads(told["sampling"]) == asked.model_dump(mode="json")
    assert -1 <= float(told["score"]) <= 1
    assert sorted(json.loads(Image.open("g.png").info["seeds"])) == [0, 1, 2, 3, 4]
    assert draw("-n", "1", "--seed", told["seed"], *flags, "--out", "again.png") == 0
    assert pixels(Image.open("again.png")) == pixels(Image.open("a.png"))


def test_settings_change_the_drawing(draw, tiny_runs):
    dalle = calligram.load_dalle(tiny_runs.dalle)
    assert draw("-n", "1", "--top-k", "1", "--out", "a.png", "--scale", "1") == 0
    (expected,) = dalle.generate(PROMPT, sampling=SamplingConfig(top_k=1))
    assert pixels(Image.open("a.png")) == pixels(expected)


def test_more_than_are_drawn_at_once(draw):
    assert draw("-n", "5", "--out", "a.png", "--grid", "whole.png") == 0
    assert draw("-n", "5", "--out", "a.png", "--grid", "parts.png", "--batch-size", "2") == 0
    assert pixels(Image.open("parts.png")) == pixels(Image.open("whole.png"))


def test_scale_repeats_pixels(draw):
    assert draw("-n", "1", "--out", "a.png", "--scale", "1") == 0
    assert draw("-n", "1", "--out", "b.png") == 0
    small, large = Image.open("a.png"), Image.open("b.png")
    assert large.size == (4 * small.width, 4 * small.height)
    assert pixels(large.resize(small.size, Image.Resampling.NEAREST)) == pixels(small)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--out", "a.gif"], "--out a.gif: the name must end in .png, .jpg or .jpeg"),
        (["--out", "red.png/a"], "--out: cannot make the folder red.png/a"),
        (["--out", "a.png", "--resume"], "--resume is for a folder as --out, not for the one picture a.png"),
        (["--out", "a.png", "--best", "2"], "--best is for a folder"),
        (["--out", "a.png", "--animate", "a.png"], "--animate a.png: the name must end in .gif"),
        (["--out", "a.png", "--animate", "/proc/x/a.gif"], "--animate: cannot make the folder /proc/x"),
        (["--out", "a.png", "--top-p", "1.5"], "--top-p 1.5: should be less than or equal to 1"),
        (["--out", "a.png", "--keep-rows", "1"], "--keep-rows is for --complete PICTURE: give both, or neither"),
        (["--out", "a.png", "--strength", "0.1"], "--strength is for --vary PICTURE"),
        (["--out", "a.png", "--complete", "red.png", "--vary", "red.png"], "both --complete and --vary: give one"),
        (["--out", "a.png", "--complete", "text.png"], "cannot read --complete text.png: not an image in a known"),
        (["--out", "a.png", "--complete", "broken.png"], "cannot read --complete broken.png: damaged image"),
        (["--out", "a.png", "--vary", "gone.png"], "cannot read --vary gone.png: no such file"),
        (
            ["--out", "a.png", "--guidance-interval", "0.5", "0.2"],
            "guidance_interval: guidance_interval (0.5, 0.2) is not",
        ),
        (["--out", "a.png", "--grid", "g.png", "-n", "30000"], "--grid g.png would have 123 million pixels"),
        (["--out", "a.png", "--grid", "g.pdf"], "--grid g.pdf: the name must end in "),
        (["--out", "folder.png"], "--out folder.png is a folder"),
        (["--out", "/proc/nowhere/a.png"], "--out: cannot make the folder /proc/nowhere"),
        (["--out", "red.png/a.png"], "--out: cannot make the folder red.png"),
        (["--out", "a.png", "-n", "0"], "--num-images 0: should be greater than or equal to 1"),
        (["--out", "a.png", "--seed", "-1"], "--seed -1: should be greater than or equal to 0"),
        (["--out", "a.png", "--temperature", "0"], "--temperature 0.0: should be greater than 0"),
        (["--out", "a.png", "--guidance", "much"], "--guidance takes FLOAT, not 'much'"),
        (["--out", "a.png", "--rerank", "gone"], "run folder gone does not exist"),
        ([], "missing: --out PATH"),
    ],
)
def test_bad_input_is_one_line(draw, pictures, capsys, words, line):
    (pictures / "folder.png").mkdir()
    assert draw(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"calligram: error: {line}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("prompt", "line"),
    [("so " * 60, "'so so "), ("", "the prompt is empty"), (" \n", "the prompt is empty")],
)
def test_a_prompt_that_cannot_be_drawn(draw, capsys, prompt, line):
    assert draw("--out", "a.png", prompt=prompt) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"calligram: error: {line}")
    assert err.count("\n") == 1


def test_no_run_no_picture(pictures, tiny_runs, capsys):
    assert main(["generate", PROMPT, "--out", "a.png"]) == 2
    assert "no trained DALL-E run in runs/: name one as --model" in capsys.readouterr().err
    assert main(["generate", PROMPT, "--out", "a.png", "--model", str(tiny_runs.clip)]) == 2
    assert "is a clip run, but a dalle run is needed here" in capsys.readouterr().err
