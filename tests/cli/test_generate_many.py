"""``calligram generate`` for lists of prompts: common batches, a folder of pictures, and how one goes on with it."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

import calligram
from calligram.cli.drawing.batches import draw_orders
from calligram.cli.main import main
from calligram.dalle.drawer import Drawer
from calligram.eval.rerank import clip_scores

PROMPTS = ["a red circle", "two blue stars", "a large ring"]


@pytest.fixture
def generate(pictures, tiny_runs):
    return lambda *words: main(["generate", "--model", str(tiny_runs.dalle), "--scale", "2", *words])


@pytest.fixture
def listed(pictures) -> Path:
    (pictures / "p.txt").write_text("\n".join(PROMPTS) + "\n\n")
    return pictures / "p.txt"


def rows(folder: str = "many") -> list[dict]:
    return [json.loads(line) for line in Path(folder, "results.jsonl").read_text().splitlines()]


def pixels(image: Image.Image) -> list:
    return list(image.convert("RGB").getdata())


def test_every_candidate_has_a_picture_and_a_line(generate, listed, tiny_runs, capsys):
    assert generate("--prompts-file", "p.txt", "-n", "3", "--seed", "4", "--out", "many") == 0
    out, err = capsys.readouterr()
    assert out == "many\n" and err == "9 pictures of 3 prompts\n"
    dalle = calligram.load_dalle(tiny_runs.dalle)
    drawn = dalle.generate(PROMPTS, num_images=3, seed=4)
    names = sorted(path.name for path in Path("many").glob("*.png"))
    assert [row["file"] for row in rows()] == names, "lines and names are in the same order"
    for row, expected in zip(rows(), [image for images in drawn for image in images], strict=True):
        image = Image.open(Path("many", row["file"]))
        assert pixels(image.reduce(2)) == pixels(expected)
        assert image.info["prompt"] == row["prompt"] == PROMPTS[row["number"] - 1]
        assert int(image.info["seed"]) == row["seed"]
        assert row["score"] is None and float(image.info["log_p"]) == row["log_p"] < 0
        assert json.loads(image.info["sampling"]) == row["sampling"] == dalle.sampling.model_dump(mode="json")
    assert [row["seed"] for row in rows()] == [4, 5, 6] * 3


def test_log_p_is_that_of_the_tokens(generate, tiny_runs):
    assert generate(PROMPTS[0], "-n", "2", "--out", "many") == 0
    dalle = calligram.load_dalle(tiny_runs.dalle)
    tokens = dalle.draw_tokens([PROMPTS[0]] * 2, [0, 1])
    assert [row["log_p"] for row in rows()] == pytest.approx(dalle.score(tokens, [PROMPTS[0]] * 2).tolist(), abs=1e-4)


def test_a_clip_ranks_the_candidates_of_each_prompt(generate, listed, tiny_runs, capsys):
    words = ["--prompts-file", "p.txt", "-n", "4", "--rerank", str(tiny_runs.clip), "--best", "2", "--json"]
    assert generate(*words, "--out", "many") == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == rows()
    clip, dalle = calligram.load_clip(tiny_runs.clip), calligram.load_dalle(tiny_runs.dalle)
    for number, prompt in enumerate(PROMPTS, 1):
        mine = [row for row in rows() if row["number"] == number]
        scores = clip_scores(clip, dalle.generate(prompt, num_images=4), prompt).tolist()
        assert [row["seed"] for row in mine] == sorted(range(4), key=lambda i: -scores[i])
        assert [row["score"] for row in mine] == pytest.approx(sorted(scores, reverse=True))
        assert [row["rank"] for row in mine] == [1, 2, 3, 4]
        assert [row["file"] is not None for row in mine] == [True, True, False, False]
    assert len(list(Path("many").glob("*.png"))) == 6


def test_prompts_share_batches(generate, listed, monkeypatch):
    sizes = []
    draw = Drawer.draw_tokens

    def counted(self, prompts, *args):
        sizes.append(len(prompts))
        return draw(self, prompts, *args)

    monkeypatch.setattr(Drawer, "draw_tokens", counted)
    assert generate("--prompts-file", "p.txt", "-n", "3", "--batch-size", "4", "--out", "many") == 0
    assert sizes == [4, 4, 1]


def test_a_line_of_json_has_settings_of_its_own(generate, pictures):
    lines = [{"prompt": "a red circle", "seed": 7, "num_images": 1, "temperature": 0.1}, {"prompt": "a ring"}]
    (pictures / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert generate("--prompts-file", "p.jsonl", "-n", "2", "--top-k", "5", "--out", "many") == 0
    assert [(r["number"], r["seed"], r["sampling"]["temperature"], r["sampling"]["top_k"]) for r in rows()] == [
        (1, 7, 0.1, 5),
        (2, 0, 1.0, 5),
        (2, 1, 1.0, 5),
    ]
    assert (
        generate("a red circle", "--seed", "7", "-n", "1", "--temperature", "0.1", "--top-k", "5", "--out", "a.png")
        == 0
    )
    assert pixels(Image.open("a.png")) == pixels(Image.open(Path("many", rows()[0]["file"])))


def test_words_files_and_stdin_are_one_list(generate, listed, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('a cross\n{"prompt": "a square", "seed": 9}\n'))
    assert generate("a star", "-", "--prompts-file", "p.txt", "-n", "1", "--out", "many") == 0
    assert [row["prompt"] for row in rows()] == ["a star", "a cross", "a square", *PROMPTS]
    assert [row["seed"] for row in rows()] == [0, 0, 9, 0, 0, 0]


def test_a_sheet_has_a_row_for_each_prompt(generate, listed):
    assert generate("--prompts-file", "p.txt", "-n", "2", "--out", "many", "--grid", "g.png") == 0
    wide, high = Image.open("g.png").size
    assert wide < 400 and high > 3 * 32
    assert generate("--prompts-file", "p.txt", "-n", "2", "--out", "again", "--grid", "again.png") == 0
    assert pixels(Image.open("again.png")) == pixels(Image.open("g.png"))


def test_a_second_call_asks_before_it_goes_on(generate, listed, capsys):
    assert generate(PROMPTS[0], "-n", "2", "--out", "many") == 0
    before = Path("many/results.jsonl").read_bytes()
    capsys.readouterr()
    assert generate("--prompts-file", "p.txt", "-n", "2", "--out", "many") == 2
    assert "--out many has drawings already: --resume goes on with them" in capsys.readouterr().err
    assert Path("many/results.jsonl").read_bytes() == before


def test_what_was_drawn_before_an_interruption_stays(generate, listed, monkeypatch, capsys):
    whole = ["--prompts-file", "p.txt", "-n", "2", "--batch-size", "2", "--grid", "g.png"]
    assert generate(*whole, "--out", "whole") == 0
    sheet = pixels(Image.open("g.png"))

    def stopped(*args):
        for number, each in enumerate(draw_orders(*args)):
            if number == 2:
                raise KeyboardInterrupt
            yield each

    with monkeypatch.context() as patch:
        patch.setattr("calligram.cli.drawing.batches.draw_orders", stopped)
        assert generate(*whole, "--out", "many") == 130
    assert "what was drawn so far lies in many; the same command with --resume goes on" in capsys.readouterr().err
    assert [row["number"] for row in rows()] == [1, 1, 2, 2]

    # a picture that somebody took away, and a line that was cut off in the middle
    Path("many", rows()[0]["file"]).unlink()
    with Path("many/results.jsonl").open("a") as file:
        file.write('{"number": 3, "prompt": "a la')
    drawn = []

    def noted(dalle, orders, *rest):
        drawn.extend(order.number for order in orders)
        return draw_orders(dalle, orders, *rest)

    monkeypatch.setattr("calligram.cli.drawing.batches.draw_orders", noted)
    assert generate(*whole, "--out", "many", "--resume") == 0
    assert drawn == [1, 3]
    assert "1 of 3 prompts are drawn already" in capsys.readouterr().err
    assert sorted(rows(), key=lambda row: (row["number"], row["rank"])) == rows("whole")
    assert sorted(p.name for p in Path("many").iterdir()) == sorted(p.name for p in Path("whole").iterdir())
    assert pixels(Image.open("g.png")) == sheet


def test_a_damaged_picture_is_told(generate, listed, capsys):
    words = ["--prompts-file", "p.txt", "-n", "1", "--out", "many", "--grid", "g.png"]
    assert generate(*words) == 0
    Path("many", rows()[1]["file"]).write_bytes(b"no picture")
    capsys.readouterr()
    assert generate(*words, "--resume") == 2
    assert "take it away, and --resume draws it again" in capsys.readouterr().err


def test_a_longer_list_goes_on_with_a_shorter_one(generate, listed, capsys):
    assert generate(*PROMPTS[:2], "-n", "2", "--out", "many") == 0
    assert generate(*PROMPTS, "-n", "2", "--out", "many", "--resume") == 0
    assert [row["number"] for row in rows()] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([*PROMPTS[:2], "--temperature", "0.5"], "prompt 1 was drawn with temperature 1.0, not 0.5: go on"),
        (["another", PROMPTS[1]], 'prompt 1 was drawn with prompt "a red circle", not "another": go on with the same'),
        ([*PROMPTS[:2], "--complete", "red.png"], 'prompt 1 was drawn with complete null, not "red.png"'),
    ],
)
def test_other_settings_do_not_go_on_with_a_folder(generate, capsys, words, line):
    assert generate(*PROMPTS[:2], "-n", "1", "--out", "many") == 0
    before = Path("many/results.jsonl").read_bytes()
    capsys.readouterr()
    assert generate(*words, "-n", "1", "--out", "many", "--resume") == 2
    assert f"calligram: error: many/results.jsonl: {line}" in capsys.readouterr().err
    assert Path("many/results.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("p.txt", "\n\n", "there is nothing to draw: the list of prompts is empty"),
        ("p.txt", f"a star\n\n{'so ' * 60}\n", "p.txt, line 3: 'so so "),  # empty lines are left out
        ("p.jsonl", '{"prompt": "a star"}\na ring\n', "p.jsonl, line 2 is not JSON"),
        ("p.jsonl", "[1]\n", 'p.jsonl, line 1 is no object: write {"prompt": "..."}'),
        (
            "p.jsonl",
            '{"prompt": "a", "sead": 3}\n',
            "p.jsonl, line 1: sead 3: there is no such field; there are guidance",
        ),
        ("p.jsonl", '{"promt": "a"}\n', 'p.jsonl, line 1: promt "a": there is no such field; there are '),
        ("p.jsonl", '{"seed": 3}\n', "p.jsonl, line 1: prompt: Field required"),
        ("p.jsonl", '{"prompt": "a", "seed": -3}\n', "p.jsonl, line 1: seed -3: should be greater than or equal to 0"),
        ("p.jsonl", '{"prompt": " "}\n', "p.jsonl, line 1: the prompt is empty: say what to draw"),
        ("p.txt", b"\xff\xfe", "--prompts-file p.txt is not a UTF-8 text: write a prompt a line"),
        ("gone.txt", None, "cannot read --prompts-file gone.txt: No such file or directory"),
    ],
)
def test_a_bad_list_is_told_by_its_line(generate, pictures, capsys, name, text, line):
    if text is not None:
        (pictures / name).write_bytes(text.encode() if isinstance(text, str) else text)
    assert generate("--prompts-file", name, "--out", "many") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith(f"calligram: error: {line}")


def test_several_prompts_do_not_fit_into_one_picture(generate, capsys):
    assert generate("a", "red", "circle", "--out", "a.png") == 2
    assert "--out a.png is one picture, but there are 3 prompts: give a folder" in capsys.readouterr().err
    assert main(["generate", "--out", "a.png"]) == 2
    assert "missing: PROMPT; say in quotes what to draw, or give --prompts-file FILE" in capsys.readouterr().err


def test_an_animation_of_very_many_is_refused(generate, pictures, capsys):
    (pictures / "p.txt").write_text("a star\n" * 3000)
    words = ["--prompts-file", "p.txt", "--out", "many", "--animate", "a.gif", "--scale", "4"]
    assert generate(*words) == 2
    assert "--animate a.gif would have 12 million pixels, more than 8: lower --scale 4" in capsys.readouterr().err


def test_a_disk_that_fills_up_leaves_what_was_written(generate, listed, monkeypatch, capsys):
    save = Image.Image.save

    def full(self, path, *args, **options):
        if ".0003-" in str(path):
            raise OSError(28, "No space left on device")
        return save(self, path, *args, **options)

    monkeypatch.setattr(Image.Image, "save", full)
    assert generate("--prompts-file", "p.txt", "-n", "1", "--out", "many") == 2
    assert "cannot write many/0003-a-large-ring-01-seed-0.png (No space left on device)" in capsys.readouterr().err
    assert [row["number"] for row in rows()] == [1, 2]
    assert len(list(Path("many").iterdir())) == 3, "nothing half-written lies about"
