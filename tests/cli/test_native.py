"""Whole pictures at their own aspect ratio, asked for at the command line."""

import json

import numpy as np
import pytest
from PIL import Image

import calligram
from calligram.cli.main import main
from calligram.cli.vectors import INDEX, VECTORS
from calligram.clip.zero_shot import load_clip


@pytest.fixture
def wide(pictures, tiny_runs) -> list[str]:
    """A picture whose sides a square would lose, among others; and how to name the model."""
    Image.new("RGB", (200, 20), "red").save(pictures / "wide.png")
    return ["red.png", "wide.png", "blue.png", "--model", str(tiny_runs.clip)]


def test_classify_reads_whole_pictures(wide, tiny_runs, capsys):
    words = ["classify", *wide, "--labels", "a red circle,a blue star", "--json"]
    assert main(words) == 0
    squares = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main([*words, "--native", "12"]) == 0
    native = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["picture"] for each in native] == ["red.png", "wide.png", "blue.png"]
    assert native != squares
    clip = load_clip(tiny_runs.clip, native=12)
    images = [Image.open(name) for name in ("red.png", "wide.png", "blue.png")]
    assert [tuple(clip.prepare(image).shape) for image in images] == [(3, 24, 32), (3, 8, 80), (3, 24, 32)]
    expected = clip.classify(images, ["a red circle", "a blue star"]).amax(1).tolist()
    assert [each["labels"][0]["probability"] for each in native] == pytest.approx(expected, abs=1e-5)


def test_an_index_knows_how_its_pictures_were_read(wide, pictures, tiny_runs, capsys):
    assert main(["embed", *wide, "--native", "12", "--out", "index"]) == 0
    capsys.readouterr()
    assert json.loads((pictures / "index" / INDEX).read_text())["native"] == 12
    clip = calligram.load_clip(tiny_runs.clip, native=12)
    images = [Image.open(name) for name in ("red.png", "wide.png", "blue.png")]
    np.testing.assert_allclose(np.load(pictures / "index" / VECTORS), clip.embed_images(images).numpy(), atol=1e-5)
    assert main(["search", "--image", "wide.png", "--index", "index", "--json", "--top-k", "1"]) == 0
    (hit,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (hit["picture"], hit["score"]) == ("wide.png", pytest.approx(1, abs=1e-5))


def test_a_converted_run_stays_native(wide, tiny_runs, pictures, capsys):
    assert main(["convert", str(tiny_runs.clip), "--native", "12", "--out", "native"]) == 0
    assert load_clip(pictures / "native").model.config.preprocess.max_patches == 12
    assert main(["classify", "wide.png", "--labels", "a red circle,a blue star", "--model", "native"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--model", "native", "--data", str(tiny_runs.shards), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["clip.zero_shot.num_samples"] > 0 and "clip.retrieval.text_recall_at_1" in found


def test_a_number_that_makes_no_sense_is_refused(wide, capsys):
    assert main(["classify", *wide, "--labels", "a,b", "--native", "0"]) == 2
    assert "native" in capsys.readouterr().err
