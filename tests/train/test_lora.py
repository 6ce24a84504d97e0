"""LoRA: small matrices are trained beside frozen ones, and whoever reads the run finds a plain model."""

import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file

from calligram import runs
from calligram.clip.zero_shot import load_clip
from calligram.errors import UserError
from calligram.presets.build import start
from calligram.train.config import LoraConfig, TrainConfig
from calligram.train.lora import adapt
from tests.train.test_frozen import batch, clip
from tests.train.test_resume import clip_run, dalle_run

pytest.importorskip("peft")


def tuned(config, init, steps=3, **lora):
    train = config.train.model_copy(update={"steps": steps, "lr": 0.05, "lora": LoraConfig(rank=2, **lora)})
    return config.model_copy(update={"init": init, "train": train})


@pytest.fixture(scope="module")
def first(drawings, tmp_path_factory):
    """A CLIP that has been trained for a few steps."""
    folder = tmp_path_factory.mktemp("first") / "run"
    start(clip_run(drawings, folder.parent), folder)
    return folder


def test_an_adapter_at_its_start_changes_nothing():
    model, same = clip(), clip()
    adapt(model, LoraConfig(rank=2))
    torch.testing.assert_close(model.encode_image(batch()["image"]), same.encode_image(batch()["image"]))


def test_what_is_saved_is_read_as_a_plain_model(drawings, tmp_path, first):
    """The loader merges what the training keeps apart: the same vectors as the model in training has."""
    config = tuned(clip_run(drawings, tmp_path), first, alpha=5)
    start(config, tmp_path / "lora")
    plain = load_clip(tmp_path / "lora")
    before, after = runs.read_weights(runs.weights(first)), runs.read_weights(runs.weights(tmp_path / "lora"))
    assert before.keys() == after.keys() == plain.model.state_dict().keys()
    changed = {name for name, x in before.items() if not torch.equal(x, after[name])}
    assert {name.rpartition(".")[2] for name in changed - {n for n in changed if "running" in n}} >= {"weight"}
    assert "text.embed.weight" not in changed and "logit_scale" not in changed

    adapted = load_clip(first).model
    adapt(adapted, config.train.lora)
    adapted.load_state_dict(load_file(runs.weights(tmp_path / "lora")))
    torch.testing.assert_close(
        adapted.eval().encode_image(batch_of(16)), plain.model.encode_image(batch_of(16)), atol=1e-6, rtol=1e-5
    )
    assert not torch.allclose(
        load_clip(first).model.encode_image(batch_of(16)), plain.model.encode_image(batch_of(16)), atol=1e-4
    )


def batch_of(size):
    return torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("build_run", [clip_run, dalle_run])
def test_it_is_resumed_to_the_bit(drawings, tmp_path, build_run):
    config = build_run(drawings, tmp_path)
    start(config, tmp_path / "first")
    start(tuned(config, tmp_path / "first", steps=4, dropout=0.3), tmp_path / "whole")
    start(tuned(config, tmp_path / "first", steps=4, dropout=0.3), tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut/step_000004")
    start(tuned(config, tmp_path / "first", steps=4, dropout=0.3), tmp_path / "cut", resume=True)
    whole, cut = (load_file(tmp_path / name / "step_000004" / runs.MODEL) for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(x, cut[name]) for name, x in whole.items())


def test_parts_may_be_frozen_named_or_trained_as_they_are(drawings, tmp_path, first, caplog):
    config = tuned(clip_run(drawings, tmp_path), first, targets=("*.qkv.*",), also=("text_projection", "logit_scale"))
    config = config.model_copy(update={"train": config.train.model_copy(update={"freeze": ("visual",)})})
    with caplog.at_level(logging.WARNING):
        start(config, tmp_path / "lora")
    before, after = runs.read_weights(runs.weights(first)), runs.read_weights(runs.weights(tmp_path / "lora"))
    changed = {name for name, x in before.items() if not torch.equal(x, after[name])}
    assert changed == {"logit_scale", "text_projection.weight", "text.transformer.blocks.0.attention.qkv.weight"}
    assert not caplog.messages


def test_a_run_with_adapters_is_begun_from_like_any_other(drawings, tmp_path, first, caplog):
    start(tuned(clip_run(drawings, tmp_path), first), tmp_path / "lora")
    with caplog.at_level(logging.WARNING):
        start(tuned(clip_run(drawings, tmp_path), tmp_path / "lora", steps=1), tmp_path / "again")
    assert not caplog.messages  # every tensor fits


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"targets": ("visuall",)}, "--train.lora.targets visuall names no part of the model; did you mean visual"),
        ({"targets": ("logit_scale",)}, "--train.lora.targets logit_scale: no linear layer that is trained"),
        ({"also": ("xyz",)}, "--train.lora.also xyz names no part of the model; there are: "),
    ],
)
def test_wrong_names(lora, said):
    with pytest.raises(UserError, match=said):
        adapt(clip(), LoraConfig(rank=2, **lora))


def test_what_makes_no_sense_is_refused(drawings, tmp_path):
    config = tuned(clip_run(drawings, tmp_path), None)
    with pytest.raises(
        UserError, match=r"--train.lora.rank 2: small changes of random weights learn nothing; name the"
    ):
        start(config, tmp_path / "lora")
    assert not (tmp_path / "lora").exists()
    with pytest.raises(ValueError, match="which muon would make orthogonal"):
        TrainConfig(optimizer="muon", lora=LoraConfig(rank=2))
    with pytest.raises(UserError, match="no linear layer"):
        adapt(torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)), LoraConfig(rank=2))
