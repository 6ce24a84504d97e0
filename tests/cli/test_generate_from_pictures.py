"""``calligram generate`` that starts from a picture, and animations of how pictures come about."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import calligram
from calligram.cli.main import main
from calligram.dalle.preview import GREY

PROMPT = "a red circle"


@pytest.fixture
def generate(pictures, tiny_runs):
    return lambda *words: main(["generate", "--model", str(tiny_runs.dalle), "--scale", "1", *words])


@pytest.fixture
def dalle(tiny_runs):
    """4 × 4 tokens of 4 × 4 pixels."""
    return calligram.load_dalle(tiny_runs.dalle)


def pixels(image: Image.Image) -> list:
    return list(image.convert("RGB").getdata())


def test_the_tiny_model_has_the_grid_that_these_tests_speak_of(dalle):
    assert (dalle.image_tokenizer.grid, dalle.image_tokenizer.config.image_size) == (4, 16)


def test_rows_are_kept_and_the_rest_is_drawn(generate, dalle, capsys):
    assert generate(PROMPT, "-n", "4", "--complete", "red.png", "--keep-rows", "1", "--out", "c.png") == 0
    assert "red.png has 48 x 32 pixels: scaled and cut to 16 x 16, as in training" in capsys.readouterr().err
    given = Image.open("red.png")
    expected = dalle.complete(given, PROMPT, rows=1, num_images=4)
    assert pixels(Image.open("c.png")) == pixels(expected[0])
    told = Image.open("c.png").info
    assert (told["complete"], told["keep_rows"]) == ("red.png", "1")
    tokens = dalle.draw_tokens([PROMPT] * 4, range(4), basis=dalle.completion(given, rows=1))
    assert torch.equal(tokens[:, :4], dalle.encode([given])[:, :4].expand(4, -1))


def test_half_is_kept_unless_told_and_no_prompt_is_needed(generate, dalle):
    assert generate("-n", "2", "--complete", "red.png", "--out", "c.png") == 0
    assert pixels(Image.open("c.png")) == pixels(dalle.complete(Image.open("red.png"), rows=2)[0])


def test_a_mask_says_what_to_draw_anew(generate, dalle, pictures):
    mask = Image.new("L", (48, 32))
    ImageDraw.Draw(mask).rectangle((0, 0, 23, 31), fill=255)  # the left half, also of the square in the middle
    mask.save("mask.png")
    words = ["--complete", "red.png", "--mask", "mask.png", "--tries", "3", "-n", "2"]
    assert generate(PROMPT, *words, "--out", "m.png", "--grid", "g.png") == 0
    given = Image.open("red.png")
    assert dalle.completion(given, mask=mask).keep_N.tolist() == [False, False, True, True] * 4
    assert pixels(Image.open("m.png")) == pixels(dalle.complete(given, PROMPT, mask=mask, tries=3)[0])
    told = Image.open("m.png").info
    assert (told["mask"], told["tries"]) == ("mask.png", "3")
    # the sheet begins with what was given, grey where it was not
    sheet = np.asarray(Image.open("g.png"))
    assert (sheet[:, 8:16] == GREY).all((1, 2)).sum() == 16


def test_variations_range_from_the_picture_to_a_new_one(generate, dalle):
    original = dalle.generate("a blue star", seed=3)[0]
    original.save("mine.png")
    assert generate("a blue star", "-n", "2", "--vary", "mine.png", "--strength", "0", "--out", "v.png") == 0
    tokens = dalle.encode([original])
    assert pixels(Image.open("v.png")) == pixels(dalle.images(tokens)[0])
    words = ["-n", "2", "--vary", "mine.png", "--strength", "0.9", "--source-prompt", "a blue star"]
    assert generate(PROMPT, *words, "--out", "v.png") == 0
    expected = dalle.variations(original, PROMPT, 0.9, num_images=2, source_prompt="a blue star")
    assert pixels(Image.open("v.png")) == pixels(expected[0])
    assert Image.open("v.png").info["source_prompt"] == "a blue star"


def test_our_own_enlarged_picture_is_read_as_it_was_drawn(generate, dalle, capsys):
    assert generate(PROMPT, "-n", "1", "--out", "large.png", "--scale", "4") == 0
    capsys.readouterr()
    assert Image.open("large.png").size == (64, 64)
    small = Image.open("large.png").resize((16, 16), Image.Resampling.NEAREST)
    assert torch.equal(dalle.encode([Image.open("large.png")]), dalle.encode([small]))
    assert generate(PROMPT, "-n", "1", "--vary", "large.png", "--out", "v.png") == 0
    assert "scaled" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--complete", "red.png", "--keep-rows", "5"],
            "--keep-rows: 5 rows to keep: a picture has 4 rows of tokens, 4 ",
        ),
        (["--complete", "red.png", "--keep-rows", "-1"], "--keep-rows: -1 rows to keep"),
        (["--complete", "red.png", "--mask", "small.png"], "the mask has 5 x 5 pixels and the picture 48 x 32: give a"),
        (["--complete", "red.png", "--mask", "text.png"], "cannot read --mask text.png"),
        (["--complete", "red.png", "--mask", "red.png", "--keep-rows", "1"], "both --keep-rows and --mask: give one"),
        (["--vary", "red.png", "--source-prompt", "so " * 60], "--source-prompt: 'so so "),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(generate, capsys, words, line):
    Image.new("L", (5, 5)).save("small.png")
    assert generate(PROMPT, "--out", "a.png", *words) == 2
    errors = [text for text in capsys.readouterr().err.splitlines() if "as in training" not in text]
    assert len(errors) == 1 and errors[0].startswith(f"calligram: error: {line}")


def frames(path: str) -> list[np.ndarray]:
    image = Image.open(path)
    found = []
    for number in range(image.n_frames):
        image.seek(number)
        found.append(np.asarray(image.convert("RGB")).astype(int))
    return found


def test_an_animation_runs_from_grey_to_the_best_picture(generate, tiny_runs):
    rerank = ["--rerank", str(tiny_runs.clip)]
    assert generate(PROMPT, "-n", "3", *rerank, "--out", "a.png", "--animate", "a.gif") == 0
    first, *_, last = found = frames("a.gif")
    assert len(found) == 17, "one for each token, and one before"
    assert (first == GREY).all()
    assert np.abs(last - np.asarray(Image.open("a.png"))).mean() < 4, "as near as 256 colours come"
    grey = [int((frame == GREY).all(-1).sum()) for frame in found]
    assert grey == sorted(grey, reverse=True)
    assert Image.open("a.gif").info["loop"] == 0


def test_several_prompts_and_completions_are_animated_together(generate):
    words = ["-n", "1", "--complete", "red.png", "--keep-rows", "1", "--out", "many", "--animate", "a.gif"]
    assert generate("a star", "a ring", *words) == 0
    first, *_, last = found = frames("a.gif")
    assert len(found) == 13
    assert ((first == GREY).all(-1)).sum() == 2 * 16 * 12
    assert ((last == GREY).all(-1)).sum() == 0


def test_the_way_of_pictures_from_before_is_not_known(generate, capsys):
    assert generate("a star", "--out", "many", "--resume", "--animate", "a.gif") == 2
    assert "both --resume and --animate" in capsys.readouterr().err


def test_json_tells_the_log_likelihood(generate, capsys, dalle):
    assert generate(PROMPT, "-n", "2", "--out", "a.png", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    tokens = dalle.draw_tokens([PROMPT] * 2, [0, 1])
    told = [candidate["log_p"] for candidate in report["candidates"]]
    assert told == pytest.approx(dalle.score(tokens, [PROMPT] * 2).tolist(), abs=1e-4)
