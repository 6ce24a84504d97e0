"""``calligram train|tokenize|show``: from a preset to a run, and what it tells about itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from calligram import runs
from calligram.cli.main import main
from calligram.cli.verbs import train
from calligram.clip.model import Clip
from calligram.clip.zero_shot import load_clip
from calligram.data.dataset import Shards
from calligram.data.tokens import Tokens
from calligram.data.training import DataConfig
from calligram.presets.config import TokenizerRun
from calligram.tokenizers.autoencoder import AutoencoderConfig
from calligram.tokenizers.fsq import FSQConfig
from calligram.tokenizers.run import fingerprint, load_tokenizer
from calligram.train.config import TrainConfig


@pytest.fixture
def preset(tiny_runs, tmp_path, monkeypatch) -> TokenizerRun:
    """The only preset there is, ``toy``; the current folder is a new one."""
    config = TokenizerRun(
        data=DataConfig(shards=tiny_runs.shards, num_workers=0),
        train=TrainConfig(steps=3, batch_size=4, warmup_steps=1, log_every=1, save_every=2),
        model=FSQConfig(
            image_size=16, levels=(3, 3), autoencoder=AutoencoderConfig(patch=4, channels=(4,), num_blocks=0)
        ),
    )
    for module in ("calligram.presets", "calligram.cli.verbs.train"):
        monkeypatch.setattr(f"{module}.presets", lambda: {"toy": config})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return config


def error_of(capsys) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("calligram: error: ")]
    return line.removeprefix("calligram: error: ")


def test_without_a_preset_all_are_listed(preset, capsys):
    for words in ([], ["--list"]):
        assert main(["train", *words]) == 0
        out = capsys.readouterr().out.replace("\n       ", " ")
        assert f"  toy  image tokenizer on {preset.data.shards}, 3 steps of 4 samples\n" in out


def test_a_preset_becomes_a_run(preset, tmp_path, capsys):
    assert main(["train", "toy"]) == 0
    out, err = capsys.readouterr()
    assert out == "runs/toy\n"
    assert "trained for 3 steps; `calligram show runs/toy` tells more" in err
    assert [folder.name for folder in runs.checkpoints(tmp_path / "runs/toy")] == ["step_000002", "step_000003"]
    assert TokenizerRun.model_validate(runs.read_config(tmp_path / "runs/toy")) == preset


def test_flags_change_the_preset(preset, tmp_path):
    assert main(["train", "toy", "--out", "mine", "--train.steps", "1", "--model.levels", "5", "5"]) == 0
    config = TokenizerRun.model_validate(runs.read_config(tmp_path / "mine"))
    assert config.train == preset.train.model_copy(update={"steps": 1})
    assert config.model.levels == (5, 5)
    assert config.data == preset.data


def test_a_run_is_resumed_with_the_same_config_only(preset, capsys):
    assert main(["train", "toy"]) == 0
    capsys.readouterr()
    assert main(["train", "toy"]) == 2
    assert error_of(capsys).startswith("runs/toy is a run already: add --resume")
    assert main(["train", "toy", "--resume", "--train.lr", "0.5"]) == 2
    assert error_of(capsys).startswith("runs/toy was started with another train.lr (0.001, now 0.5)")
    shutil.rmtree("runs/toy/step_000003")
    assert main(["train", "toy", "--resume"]) == 0
    assert os.path.isdir("runs/toy/step_000003")


def test_what_changes_nothing_that_is_learnt_may_change(preset, capsys):
    assert main(["train", "toy"]) == 0
    shutil.rmtree("runs/toy/step_000003")
    assert main(["train", "toy", "--resume", "--data.num-workers", "1", "--train.keep-last", "1"]) == 0
    assert runs.read_config(Path("runs/toy"))["data"]["num_workers"] == 1
    assert [p.name for p in runs.checkpoints(Path("runs/toy"))] == ["step_000003"]


def test_a_run_goes_on_longer_only_when_told_to(preset, capsys):
    assert main(["train", "toy"]) == 0
    capsys.readouterr()
    assert main(["train", "toy", "--resume", "--train.steps", "5"]) == 2
    assert "train.steps (3, now 5): resume it with the config it has, or give --allow-changes" in error_of(capsys)
    assert main(["train", "toy", "--resume", "--train.steps", "5", "--allow-changes"]) == 0
    assert runs.checkpoints(Path("runs/toy"))[-1].name == "step_000005"


def test_a_part_that_there_is_not_leaves_no_run_behind(preset, capsys):
    assert main(["train", "toy", "--train.freeze", "visual"]) == 2
    assert error_of(capsys).startswith("--train.freeze visual names no part of the model; there are: decoder, encoder")
    assert not os.path.exists("runs/toy")


def test_what_cannot_go_on_keeps_its_config(preset, capsys):
    assert main(["train", "toy"]) == 0
    before = Path("runs/toy/config.json").read_bytes()
    capsys.readouterr()
    assert main(["train", "toy", "--resume", "--allow-changes", "--data.shards", "gone"]) == 2
    assert error_of(capsys).startswith("gone does not exist")
    assert Path("runs/toy/config.json").read_bytes() == before


def test_runs_are_listed(preset, capsys):
    assert main(["runs"]) == 2
    assert error_of(capsys).startswith("runs is not a folder")
    assert main(["train", "toy"]) == 0 and main(["train", "toy", "--out", "runs/more/b"]) == 0
    capsys.readouterr()
    assert main(["runs"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "what", "steps", "loss", "last", "written"]
    assert first.startswith("runs/more/b") and second.startswith("runs/toy") and "3 of 3" in first
    assert main(["runs", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in found] == ["runs/more/b", "runs/toy"] and found[0]["saved_step"] == 3


def test_what_cannot_begin_leaves_no_run_behind(preset, capsys):
    assert main(["train", "toy", "--data.shards", "gone"]) == 2
    assert error_of(capsys).startswith("gone does not exist")
    assert not os.path.exists("runs/toy")
    assert main(["train", "toy"]) == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["toi"], "unknown preset 'toi'; did you mean toy?"),
        (["xyzzy"], "unknown preset 'xyzzy'; there are: toy"),
        (["toy", "--train.stepz", "3"], "unknown flag --train.stepz; did you mean --train.steps?"),
        (["toy", "--train.steps", "many"], "--train.steps takes INT, not 'many'"),
        (["toy", "--train.steps", "0"], "--train.steps 0: should be greater than or equal to 1"),
        (["toy", "--model.levels", "1"], "levels (1,): name at least one channel"),
        (["toy", "--data.split", "tset"], "split 'tset' is not in this data set"),
        (["toy", "--out", "full"], "full exists and is not a run"),
        (["toy", "--out", "/proc/nowhere"], "cannot write to /proc/nowhere"),
    ],
)
def test_bad_input_is_one_line(preset, tmp_path, capsys, words, line):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("dear")
    assert main(["train", *words]) == 2
    assert line in error_of(capsys)
    assert (tmp_path / "full/letter.txt").is_file()


def test_the_help_calls_a_path_that_may_be_missing_a_path(preset, capsys):
    assert main(["train", "toy", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--init PATH" in out and "--watch.shards DIR" in out and "{None}|PATH" not in out


def test_an_init_of_a_preset_can_be_taken_away(preset):
    default = preset.model_copy(update={"init": Path("runs/other")})
    assert train.parse_flags("toy", default, []).init == Path("runs/other")
    assert train.parse_flags("toy", default, ["--init", "None"]).init is None
    assert train.parse_flags("toy", default, ["--init", "mine"]).init == Path("mine")


@pytest.mark.slow
def test_torchrun_in_front(tiny_runs, tmp_path):
    flags = "--train.steps 2 --train.batch-size 4 --data.num-workers 0 --model.image-size 16".split()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "calligram.cli.main"]
    command += ["train", "fsq-shapes", "--out", "run", "--data.shards", str(tiny_runs.shards), *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run\n"
    assert [row["step"] for row in runs.read_metrics(tmp_path / "run")] == [2]


def test_the_package_can_be_run_as_a_module(tmp_path):
    command = [sys.executable, "-m", "calligram", "--version"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("calligram ")
    assert train.PROG == "calligram train"


def test_tokenize_writes_tokens_once(tiny_runs, tmp_path, capsys):
    shards = shutil.copytree(tiny_runs.shards, tmp_path / "shards")
    command = ["tokenize", str(shards), "--tokenizer", str(tiny_runs.tokenizer), "--split", "test"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith(f"{shards} test: 9 samples, 16 tokens each of a vocabulary of 16, ")
    tokenizer = load_tokenizer(tiny_runs.tokenizer)
    assert Tokens(Shards(shards, "test"), fingerprint(tokenizer)).rows(0).shape == (9, 16)
    (written,) = shards.glob("test/*.npy")
    before = written.stat().st_mtime_ns
    assert main(command) == 0
    assert written.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["shards", "--tokenizer", "gone"], "run folder gone does not exist"),
        (["shards", "--tokenizer", "clip"], "clip is a clip run, but a tokenizer run is needed here"),
        (["gone", "--tokenizer", "tokenizer"], "gone does not exist"),
        (["shards", "--tokenizer", "tokenizer", "--split", "tset"], "split 'tset' is not in this data set"),
        (["shards"], "missing: --tokenizer RUN"),
    ],
)
def test_tokenize_bad_input(tiny_runs, monkeypatch, capsys, words, line):
    monkeypatch.chdir(tiny_runs.shards.parent)
    assert main(["tokenize", *words]) == 2
    assert error_of(capsys).startswith(line)


def test_show_tells_what_the_files_say(tiny_runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["show", str(tiny_runs.clip)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{tiny_runs.clip}: CLIP\n")
    model: Clip = load_clip(tiny_runs.clip).model
    assert f"  parameters   {sum(p.numel() for p in model.parameters()):,}\n" in out
    assert "  steps        6 of 6\n" in out
    assert "  at step 6    loss " in out
    assert "  checkpoints  step_000003 (" in out
    assert "  model.text.transformer.width        16\n" in out
    too_long = [line for line in out.splitlines() if len(line) > 80 and str(tiny_runs.shards.parent) not in line]
    assert too_long == []


def test_show_for_programs(tiny_runs, tmp_path, capsys):
    run = shutil.copytree(tiny_runs.dalle, tmp_path / "run")
    (run / "results.json").write_text('{"dalle.score": 0.5}')
    assert main(["show", str(run), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    metrics = runs.read_metrics(run)
    assert facts["type"] == "dalle"
    assert facts["steps"] == facts["planned_steps"] == 6
    assert facts["last"] == metrics[-1]
    assert facts["best_loss"]["loss"] == min(row["loss"] for row in metrics)
    assert facts["losses"] == [row["loss"] for row in metrics]
    assert facts["config"]["model.text_length"] == 32
    assert facts["results"] == {"dalle.score": 0.5}


def test_show_does_not_guess_whose_results_lie_beside_two_runs(tiny_runs, tmp_path, capsys):
    for name in ("a", "b"):
        shutil.copytree(tiny_runs.clip, tmp_path / name)
    (tmp_path / "results.json").write_text('{"clip.top1": 0.25}')
    assert main(["show", str(tmp_path / "a")]) == 0
    assert "results" not in capsys.readouterr().out


def test_show_takes_the_runs_own_numbers_from_results_beside_it(tiny_runs, tmp_path, capsys):
    shutil.copytree(tiny_runs.clip, tmp_path / "clip")
    (tmp_path / "results.json").write_text('{"clip.top1": 0.25, "dalle.score": 0.5}')
    assert main(["show", str(tmp_path / "clip")]) == 0
    assert capsys.readouterr().out.endswith("\nresults\n  clip.top1  0.25\n")


def test_show_a_run_that_has_only_begun(tiny_runs, tmp_path, capsys):
    run = shutil.copytree(tiny_runs.clip, tmp_path / "run", ignore=shutil.ignore_patterns("step_*", "metrics*"))
    assert main(["show", str(run)]) == 0
    out = capsys.readouterr().out
    assert "  parameters   no checkpoint yet\n  steps        0 of 6\n  checkpoints  none\n" in out


def test_show_bad_input(tiny_runs, tmp_path, capsys):
    run = shutil.copytree(tiny_runs.clip, tmp_path / "run")
    for change, line in (
        (lambda: None, "run folder "),
        (lambda: (run / "results.json").write_text("{"), f"{run}/results.json is not what"),
        (lambda: runs.weights(run).write_bytes(b"no"), f"{runs.weights(run)} is not a safetensors file"),
        (lambda: (run / "config.json").write_text("{"), f"{run}/config.json is not the config of a run"),
        (lambda: (run / "config.json").unlink(), f"{run} is not a run folder"),
    ):
        change()
        assert main(["show", str(run if "run folder " not in line else tmp_path / "gone")]) == 2
        assert error_of(capsys).startswith(line)
