"""``--init``: a run that begins with the weights of another."""

import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel

from calligram import load_clip, runs
from calligram.errors import UserError
from calligram.presets.build import start
from tests.train.test_resume import clip_run, tokenizer_run


def tuned(config, init, **train):
    fields = {"steps": 1, "lr": 1e-12, "weight_decay": 0, **train}
    return config.model_copy(update={"init": init, "train": config.train.model_copy(update=fields)})


def test_a_run_begins_where_another_ended(drawings, tmp_path):
    """At a learning rate of next to nothing the weights are those of the other run."""
    config = clip_run(drawings, tmp_path)
    start(config, tmp_path / "first")
    start(tuned(config, tmp_path / "first"), tmp_path / "second")
    before, after = (load_file(runs.weights(tmp_path / name)) for name in ("first", "second"))
    for name, p in before.items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(p, after[name], atol=1e-6, rtol=1e-6)
    words = [(tmp_path / name / runs.TEXT_TOKENIZER).read_bytes() for name in ("first", "second")]
    assert words[0] == words[1]


def test_a_frozen_tower_is_that_of_the_other_run_to_the_bit(drawings, tmp_path):
    config = clip_run(drawings, tmp_path)
    start(config, tmp_path / "first")
    start(tuned(config, tmp_path / "first", lr=0.1, steps=3, freeze=("visual",)), tmp_path / "lit")
    before, after = (load_file(runs.weights(tmp_path / name)) for name in ("first", "lit"))
    assert all(torch.equal(x, after[name]) for name, x in before.items() if name.startswith("visual."))
    assert not torch.equal(before["text_projection.weight"], after["text_projection.weight"])


def test_what_does_not_fit_is_told(drawings, tmp_path, caplog):
    config = clip_run(drawings, tmp_path)
    start(config, tmp_path / "first")
    wider = config.model_copy(update={"model": config.model.model_copy(update={"embed_dim": 16})})
    with caplog.at_level(logging.WARNING):
        start(tuned(wider, tmp_path / "first"), tmp_path / "second")
    assert "2 of another shape, such as text_projection.weight" in caplog.text


def test_another_kind_of_run_is_refused_and_nothing_is_left_behind(drawings, tmp_path):
    start(tokenizer_run(drawings, tmp_path), tmp_path / "tokenizer")
    with pytest.raises(UserError, match="is a tokenizer run, but a clip run is needed here"):
        start(tuned(clip_run(drawings, tmp_path), tmp_path / "tokenizer"), tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_positions_are_fitted_to_another_size_and_what_shapes_do_not_show_is_told(drawings, tmp_path, caplog):
    config = clip_run(drawings, tmp_path)
    start(config, tmp_path / "first")
    image = config.model.image
    transformer = image.transformer.model_copy(update={"activation": "quick_gelu"})
    model = config.model.model_copy(
        update={
            "image_size": 2 * config.model.image_size,
            "image": image.model_copy(update={"transformer": transformer}),
        }
    )
    with caplog.at_level(logging.WARNING):
        start(tuned(config, tmp_path / "first").model_copy(update={"model": model}), tmp_path / "large")
    assert 'image.activation is "quick_gelu", and was "gelu"' in caplog.text
    assert "of another shape" not in caplog.text
    before, after = (load_file(runs.weights(tmp_path / name))["visual.positions"] for name in ("first", "large"))
    assert len(after) == 4 * len(before)
    torch.testing.assert_close(after.mean(0), before.mean(0), atol=0.02, rtol=0)


@pytest.fixture
def of_others(tmp_path):
    """A small CLIPModel with CLIP's vocabulary, as Hugging Face saves one."""
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    image = {**text, "image_size": 16, "patch_size": 8}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=8)).save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


def test_a_model_of_others_is_begun_from_as_it_is(drawings, tmp_path, of_others, caplog):
    """Its weights, its words, nothing left out; and a run goes on without it."""
    config = clip_run(drawings, tmp_path).model_copy(update={"model": load_clip(of_others).model.config})
    config = tuned(config, of_others, steps=2, save_every=1)
    with caplog.at_level(logging.WARNING):
        start(config, tmp_path / "run")
    assert not [message for message in caplog.messages if "--init" in message]
    theirs, ours = load_clip(of_others), load_clip(tmp_path / "run")
    assert ours.tokenizer(["a red circle"]).tolist() == theirs.tokenizer(["a red circle"]).tolist()
    for name, p in theirs.model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], p, atol=1e-6, rtol=1e-6)
    shutil.rmtree(of_others)
    shutil.rmtree(tmp_path / "run/step_000002")
    start(config, tmp_path / "run", resume=True)


def test_weights_that_do_not_say_their_activation_are_sent_to_convert(drawings, tmp_path):
    torch.save({"visual.proj": torch.ones(2, 2)}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"--init .*weights.pt does not say which activation .* by `calligram convert"):
        start(tuned(clip_run(drawings, tmp_path), tmp_path / "weights.pt"), tmp_path / "run")
    with pytest.raises(UserError, match=r"run folder .*nowhere does not exist"):
        start(tuned(clip_run(drawings, tmp_path), tmp_path / "nowhere"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
