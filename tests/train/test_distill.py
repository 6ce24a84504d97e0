"""A CLIP run that learns from a teacher: one of ours or of others, of another size and with other words."""

import json
import logging

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel

from calligram import runs
from calligram.cli.main import main
from calligram.clip.load import load_model, save_model
from calligram.clip.losses.config import DistillConfig, SigmoidConfig
from calligram.clip.model import Clip, ClipConfig
from calligram.clip.teacher import IDS
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.errors import UserError
from calligram.nn.transformer import TransformerConfig
from calligram.presets.build import _clip, start
from calligram.presets.config import ClipRun
from calligram.tokenizers.text import TextTokenizer
from tests.train.test_resume import TRAIN, clip_run, start_and_die

SIZE = TransformerConfig(width=16, num_layers=1, num_heads=2)


def teach(config: ClipRun, teacher, **options) -> ClipRun:
    distill = DistillConfig(teacher=teacher, **options)
    return config.model_copy(update={"distill": distill})


def write_teacher(folder, seed: int = 0):
    """A plain model folder, with CLIP's words and larger pictures."""
    words = TextTokenizer.clip(24)
    text = TextTowerConfig(context_length=24, transformer=SIZE)
    config = ClipConfig(image_size=24, embed_dim=20, image=ViTConfig(patch=8, transformer=SIZE), text=text)
    torch.manual_seed(seed)
    save_model(Clip(config, words.vocab_size, words.end_id), words, folder)
    return folder


@pytest.fixture
def teacher(tmp_path):
    return write_teacher(tmp_path / "teacher")


def taught_run(drawings, tmp_path) -> ClipRun:
    """For other tests, too: a CLIP and its teacher, which is made where there is none."""
    folder = tmp_path / "its-teacher"
    return teach(clip_run(drawings, tmp_path), folder if folder.is_dir() else write_teacher(folder))


def files_of(run) -> dict[str, list[str]]:
    return {file.name: sorted(load_file(file)) for file in sorted(runs.checkpoints(run)[-1].glob("*.safetensors"))}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_run_learns_from_a_teacher_and_keeps_nothing_of_it(drawings, tmp_path, teacher, accumulate, kind):
    config = clip_run(drawings, tmp_path)
    train = {"accumulate": accumulate, "ema_decay": 0.9, "log_every": 1}
    changes = {"train": config.train.model_copy(update=train)}
    if kind == "sigmoid":
        changes |= {"loss": SigmoidConfig(), "model": config.model.model_copy(update={"init_bias": -3.0})}
    config = config.model_copy(update={**changes, "hard_negatives": True})
    start(config, tmp_path / "plain")
    start(teach(config, teacher, weight=2), tmp_path / "taught")
    assert files_of(tmp_path / "taught") == files_of(tmp_path / "plain") and len(files_of(tmp_path / "plain")) == 3
    plain, taught = (runs.read_metrics(tmp_path / name) for name in ("plain", "taught"))
    assert all("distillation_loss" in row for row in taught) and not any("distillation_loss" in row for row in plain)
    # the first step's batch, weights and dropout are the same
    assert taught[0]["loss"] - 2 * taught[0]["distillation_loss"] == pytest.approx(plain[0]["loss"], abs=1e-4)
    assert taught[-1]["loss"] != plain[-1]["loss"]
    load_model(tmp_path / "taught")


def test_an_interrupted_run_ends_as_an_uninterrupted_one(drawings, tmp_path, teacher, monkeypatch):
    config = teach(clip_run(drawings, tmp_path), teacher)
    start(config, tmp_path / "whole")

    start_and_die(config, tmp_path / "resumed", monkeypatch)
    start(config, tmp_path / "resumed", resume=True)
    files = [tmp_path / run / "step_000004" / runs.MODEL for run in ("whole", "resumed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert ClipRun.model_validate(runs.read_config(tmp_path / "whole")) == config


def test_a_run_goes_on_with_its_teacher_alone(drawings, tmp_path, teacher, caplog):
    config = teach(clip_run(drawings, tmp_path), teacher)
    run = tmp_path / "run"
    start(config, run)
    written = (run / runs.CONFIG).read_bytes()
    with pytest.raises(UserError, match=r"started with another distill.teacher \(.*, now null\)"):
        start(clip_run(drawings, tmp_path), run, resume=True)
    moved = teacher.rename(tmp_path / "moved")
    with pytest.raises(
        UserError, match=r"--distill.teacher .*teacher: run folder .* does not exist; .*run goes on with"
    ):
        start(config, run, resume=True)
    assert (run / runs.CONFIG).read_bytes() == written
    with caplog.at_level(logging.WARNING):
        start(teach(config, moved), run, resume=True, allow_changes=True)
        assert "is not the model any more" not in caplog.text
        write_teacher(teacher, seed=1)
        start(config, run, resume=True, allow_changes=True)
    assert f"--distill.teacher {teacher} is not the model any more that {run} began to learn from" in caplog.text


def test_a_teacher_is_a_run_or_a_model_of_others(drawings, tmp_path):
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    theirs = CLIPModel(CLIPConfig(text_config=text, vision_config={**text, "image_size": 24, "patch_size": 8}))
    theirs.save_pretrained(tmp_path / "hf")
    config = clip_run(drawings, tmp_path)
    start(teach(config, tmp_path / "hf"), tmp_path / "first")
    start(teach(config, tmp_path / "first").model_copy(update={"init": tmp_path / "first"}), tmp_path / "second")
    # the second teacher has the words of its student
    assert "distillation_loss" in runs.read_metrics(tmp_path / "second")[-1]


def broken(teacher):
    """Weights that are not those of the config."""
    tensors = load_file(teacher / runs.MODEL)
    save_file({name: x for name, x in tensors.items() if "visual" not in name}, teacher / runs.MODEL)
    return teacher


def nonsense(teacher):
    config = runs.read_config(teacher)
    config["model"]["image_size"] = 25
    runs.write_config(teacher, config)
    return teacher


def weights_alone(teacher):
    torch.save({"visual.proj": torch.ones(2, 2)}, teacher / "weights.pt")
    return teacher / "weights.pt"


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda teacher: teacher / "gone", "run folder .*gone does not exist$"),
        (broken, "does not fit the model of its config"),
        (nonsense, "image_size 25 is not divisible by patch 8"),
        (weights_alone, "does not say which activation it was trained with: give --distill.activation quick_gelu"),
        (lambda teacher: "open_clip:ViT-B-32/none", "open_clip has no weights 'none' of ViT-B-32"),
    ],
)
def test_a_teacher_that_is_none_is_one_line_and_no_run(drawings, tmp_path, teacher, damage, line):
    word = damage(teacher)
    with pytest.raises(UserError, match=rf"^--distill.teacher {word}:? .*{line}") as caught:
        start(teach(clip_run(drawings, tmp_path), word), tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_another_kind_of_run_is_no_teacher(tiny_runs, tmp_path, capsys):
    for kind in ("dalle", "tokenizer"):
        words = ["train", "clip-shapes", "--data.shards", str(tiny_runs.shards), "--out", str(tmp_path / "run")]
        assert main([*words, "--distill.teacher", str(getattr(tiny_runs, kind))]) == 2
        said = capsys.readouterr().err
        assert f"is a {kind} run, but a clip run is needed here" in said and "--distill.teacher" in said
        assert not (tmp_path / "run").exists()
    assert main(["train", "clip-shapes", "--distill.weight", "2"]) == 2
    assert "distill.weight without distill.teacher" in capsys.readouterr().err


def test_what_a_teacher_would_do_without_one_is_told():
    with pytest.raises(ValidationError, match=r"distill\.activation without distill\.teacher"):
        DistillConfig(activation="gelu")
    with pytest.raises(ValidationError, match="greater than 0"):
        DistillConfig(teacher="runs/a", weight=0)
    assert json.loads(DistillConfig().model_dump_json()) == {"teacher": None, "weight": 1.0, "activation": None}


def test_the_words_of_both_are_read(drawings, tmp_path, teacher):
    """A batch has the ids of the student, and where they are others those of the teacher."""
    config = teach(clip_run(drawings, tmp_path), teacher)
    _, batches, _ = _clip(config, tmp_path / "run", torch.device("cpu"))
    batch = next(iter(batches))
    words = TextTokenizer.load(teacher / runs.TEXT_TOKENIZER)
    ours = TextTokenizer.load(tmp_path / "run" / runs.TEXT_TOKENIZER)
    assert batch[IDS].shape == (TRAIN.batch_size, 24) and batch["text"].shape == (TRAIN.batch_size, 32)
    assert [words.decode(ids) for ids in batch[IDS]] == [ours.decode(ids) for ids in batch["text"]]
