"""Every preset: found by itself, valid, and of a size that its description can be believed."""

import json
import logging

import open_clip
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from calligram.clip.model import Clip, ClipConfig
from calligram.clip.weights.open_clip import config_from_open_clip
from calligram.dalle.model import Dalle
from calligram.data.dataset import Shards
from calligram.data.shapes.scene import KINDS
from calligram.errors import UserError
from calligram.presets import build, preset, presets
from calligram.presets import clip as field
from calligram.presets.config import ClipRun, DalleRun, Run, TokenizerRun
from calligram.tokenizers.image import build_image_tokenizer
from calligram.tokenizers.text import TextTokenizer


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_survives_json_and_builds_its_model(name):
    config = preset(name)
    assert TypeAdapter(Run).validate_json(json.dumps(config.model_dump(mode="json"))) == config
    if isinstance(config, TokenizerRun):
        model = build_image_tokenizer(config.model)
    elif isinstance(config, ClipRun):
        with torch.device("meta"):  # those of the field's sizes would take gigabytes
            model = Clip(config.model, vocab_size=300, end_id=2)
    else:
        model = Dalle(config.model, text_vocab_size=300, image_vocab_size=512, grid=8, end_id=2)
    size = sum(p.numel() for p in model.parameters())
    # all but those of clip.py are for laptops
    assert 50e6 < size < 400e6 if name in field.PRESETS else size < 20e6


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("clip-vit-b-32", "ViT-B-32"),
        ("clip-vit-b-16", "ViT-B-16"),
        ("clip-vit-l-14", "ViT-L-14"),
        ("clip-vit-l-14-336", "ViT-L-14-336"),
        ("clip-rn50", "RN50"),
        ("siglip-b-16", "ViT-B-16-SigLIP"),
    ],
)
def test_presets_of_the_field_have_its_sizes(name, published):
    """So that published weights fit; how pictures are prepared in a training here is our own."""
    config = preset(name)
    assert isinstance(config, ClipRun)
    found = config_from_open_clip(open_clip.get_model_config(published), {})
    if name == "siglip-b-16":  # timm's and open_clip's towers have the exact GELU, those of the paper the other
        assert "gelu_tanh" in (config.model.image.transformer.activation, config.model.text.transformer.activation)
        found = gelu_tanh(found)
    assert (
        config.model.model_copy(update={"preprocess": found.preprocess, "mean": found.mean, "std": found.std}) == found
    )


def gelu_tanh(config: ClipConfig) -> ClipConfig:
    towers = {"image": config.image, "text": config.text}
    return config.model_copy(
        update={
            part: tower.model_copy(
                update={"transformer": tower.transformer.model_copy(update={"activation": "gelu_tanh"})}
            )
            for part, tower in towers.items()
        }
    )


@pytest.mark.parametrize("name", [name for name, config in presets().items() if isinstance(config, DalleRun)])
def test_a_decoder_stands_on_the_tokenizer_of_the_same_data(name):
    config = preset(name)
    assert isinstance(config, DalleRun)
    trained = {c.data.shards: n for n, c in presets().items() if isinstance(c, TokenizerRun)}
    assert config.data.shards in trained


def test_a_misspelt_preset_names_the_nearest():
    with pytest.raises(UserError, match="did you mean clip-shapes"):
        preset("clip-shape")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"loss": {"type": "sigmoid"}}, "give --model.init-bias -10"),
        ({"model": {"init_bias": -10}}, "model.init_bias -10 is of no use to the softmax loss"),
    ],
)
def test_the_sigmoid_loss_and_the_bias_go_together(given, said):
    with pytest.raises(ValidationError, match=said):
        ClipRun.model_validate(given)


def test_the_loss_of_a_run_decides_what_its_model_has():
    plain = ClipRun()
    run = ClipRun.model_validate({"loss": {"type": "sigmoid"}, "model": {"init_bias": -10, "init_scale": 10}})
    assert TypeAdapter(Run).validate_json(run.model_dump_json()) == run
    model, usual = (Clip(config.model, vocab_size=300, end_id=2) for config in (run, plain))
    assert model.logit_bias is not None and model.logit_bias.item() == -10
    assert model.scale().item() == pytest.approx(10) and usual.scale().item() == pytest.approx(1 / 0.07)
    assert set(model.state_dict()) - set(usual.state_dict()) == {"logit_bias"}


def test_a_small_vocabulary_sees_captions_of_every_kind(tiny_runs, monkeypatch):
    """Kinds take turns in the shards: every third sample would be of the same kind."""
    shards = Shards(tiny_runs.shards, "train")
    monkeypatch.setattr(build, "SAMPLES_FOR_BPE", len(shards) // 3)
    captions = build._some_captions(shards)
    kinds = [shards[i].meta["kind"] for i in range(len(shards)) if shards.read_captions(i)[0] in captions]
    assert set(kinds) == set(KINDS)


def test_captions_that_will_be_cut_are_told_of(caplog):
    captions = ["a red circle"] * 3 + ["a red circle above a blue square"]
    with caplog.at_level(logging.WARNING):
        build._warn_of_cuts(TextTokenizer.train(captions, 300, context_length=32), captions)
        assert not caplog.messages
        build._warn_of_cuts(TextTokenizer.train(captions, 300, context_length=6), captions)
    assert "25.0% of captions have more than the 6 tokens" in caplog.messages[0]
