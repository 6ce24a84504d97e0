"""Looks at a model in training: numbers in the metrics, pictures in the run, and a training that does not notice."""

import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from calligram import runs
from calligram.data.sources.shapes import ShapesSource
from calligram.data.writer import write_shards
from calligram.errors import UserError
from calligram.eval.runner import evaluate, load_models
from calligram.eval.task import EvalConfig
from calligram.presets.build import start
from calligram.presets.config import WatchConfig
from calligram.train.interrupt import Interrupt
from calligram.train.watch import Findings, Watch
from tests.train import test_loop
from tests.train.test_loop import CPU, LineTask, Steps, load_batches
from tests.train.test_resume import clip_run, dalle_run, tokenizer_run
from tests.train.test_trackers import Recorder


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Data with a split to look with."""
    path = tmp_path_factory.mktemp("watched") / "shapes"
    write_shards(ShapesSource(num_samples=40, num_test=12, num_holdout=0), path)
    return path


def watched(config, ema_decay=0.5, **watch):
    fields = {"every": 3, "max_samples": 10, "num_pictures": 2, **watch}
    train = config.train.model_copy(update={"ema_decay": ema_decay, "save_every": 4, "log_every": 2, "steps": 4})
    return config.model_copy(update={"train": train, "watch": WatchConfig(**fields)})


NUMBERS = {"tokenizer": "tokenizer.psnr_db", "clip": "clip.zero_shot.top5", "dalle": "dalle.bits_per_token"}


@pytest.mark.parametrize("build_run", [tokenizer_run, clip_run, dalle_run])
def test_a_look_finds_what_evaluate_finds_and_training_does_not_notice(drawings, tmp_path, build_run):
    """Of the averaged weights, which others load; dropout, BatchNorm and random numbers are as if nobody had looked."""
    config = build_run(drawings, tmp_path)
    start(watched(config, every=0), tmp_path / "unseen")
    start(watched(config), tmp_path / "seen")
    unseen, seen = (load_file(tmp_path / name / "step_000004" / runs.MODEL) for name in ("unseen", "seen"))
    assert all(torch.equal(x, seen[name]) for name, x in unseen.items())

    rows = {row["step"]: row for row in runs.read_metrics(tmp_path / "seen")}
    assert [step for step, row in rows.items() if NUMBERS[config.type] in row] == [3, 4]
    by_hand = evaluate(load_models([tmp_path / "seen"]), drawings, EvalConfig(max_samples=10), ())
    found = {name: value for name, value in rows[4].items() if name in by_hand}
    assert NUMBERS[config.type] in found
    assert found == {name: pytest.approx(by_hand[name], rel=1e-5) for name in found}
    losses = {row["step"]: row["loss"] for row in runs.read_metrics(tmp_path / "unseen")}
    assert losses[4] == pytest.approx(rows[4]["loss"], rel=1)  # its average is over fewer steps where a row came at 3


@pytest.mark.parametrize(
    ("build_run", "name"), [(tokenizer_run, "reconstructions"), (dalle_run, "drawings"), (clip_run, None)]
)
def test_pictures_lie_in_the_run(drawings, tmp_path, build_run, name):
    start(watched(build_run(drawings, tmp_path)), tmp_path / "run")
    found = sorted(path.name for path in (tmp_path / "run").glob("samples/*"))
    assert found == ([f"{name}_000003.png", f"{name}_000004.png"] if name else [])
    for path in (tmp_path / "run").glob("samples/*"):
        picture = Image.open(path)
        assert picture.width > 128 and len(picture.convert("RGB").getcolors(10**6)) > 20


def test_pictures_go_to_the_trackers(tmp_path, monkeypatch):
    class Gallery(Recorder):
        def __init__(self):
            super().__init__()
            self.pictures = []

        def Image(self, picture):
            return ("shown", picture.size)

        def log(self, row, step):
            self.pictures += [(step, value) for value in row.values() if isinstance(value, tuple)]

    module = Gallery()
    monkeypatch.setitem(sys.modules, "wandb", module)
    watch = Watch(10, lambda: Findings({"line.seen": 1.0}, {"sheet": Image.new("RGB", (5, 4))}))
    config = test_loop.config(steps=25, trackers=("tensorboard", "wandb"))
    test_loop.loop.train(LineTask(), Steps(load_batches, 25), config, tmp_path, CPU, watch)
    assert module.pictures == [(step, ("shown", (5, 4))) for step in (10, 20, 25)]
    events = b"".join(path.read_bytes() for path in tmp_path.glob("events*"))
    assert b"sheet" in events and b"PNG" in events
    assert [row["step"] for row in runs.read_metrics(tmp_path) if "line.seen" in row] == [10, 20, 25]


def test_what_is_told_to_go_does_not_look_first(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(Interrupt, "is_due", lambda interrupt: True)
    with pytest.raises(test_loop.loop.Interrupted):
        watch = Watch(1, lambda: looks.append(1) or Findings())
        test_loop.loop.train(LineTask(), Steps(load_batches, 5), test_loop.config(steps=5), tmp_path, CPU, watch)
    assert not looks


def test_the_time_of_a_look_is_none_of_training(tmp_path):
    import time

    def look():
        time.sleep(1.0)
        return Findings()

    config = test_loop.config(steps=20, log_every=20)
    test_loop.loop.train(LineTask(), Steps(load_batches, 20), config, tmp_path, CPU, Watch(7, look))
    rows = runs.read_metrics(tmp_path)
    assert [row["step"] for row in rows] == [7, 14, 20]
    assert all(row["samples_per_s"] > 2 * 7 * 16 for row in rows)  # with the look it would be under half of that


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        ({"split": "validation"}, r"--watch.split validation: .* has no such split, only train, test; name one"),
        ({"tasks": ("zero-shoot",)}, "unknown evaluation task 'zero-shoot'; did you mean zero-shot?"),
        ({"tasks": ("likelihood",)}, "--watch.tasks likelihood: it needs a dalle and data made for it"),
        ({"shards": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_looked_at_is_told_before_training(drawings, tmp_path, watch, said):
    with pytest.raises(UserError, match=said):
        start(watched(clip_run(drawings, tmp_path), **watch), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_prompt_that_is_too_long_is_told_before_training(drawings, tmp_path):
    with pytest.raises(UserError, match="red red red"):
        start(watched(dalle_run(drawings, tmp_path), prompts=("red " * 50,)), tmp_path / "run")
