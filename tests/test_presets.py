"""Every preset: found by itself, valid, and of a size that its description can be believed."""

import json
import logging

import pytest
from pydantic import TypeAdapter

from calligram.clip.model import Clip
from calligram.dalle.model import Dalle
from calligram.data.dataset import Shards
from calligram.data.shapes.scene import KINDS
from calligram.errors import UserError
from calligram.presets import build, preset, presets
from calligram.presets.config import ClipRun, DalleRun, Run, TokenizerRun
from calligram.tokenizers.fsq import FSQTokenizer
from calligram.tokenizers.text import TextTokenizer


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_survives_json_and_builds_its_model(name):
    config = preset(name)
    assert TypeAdapter(Run).validate_json(json.dumps(config.model_dump(mode="json"))) == config
    if isinstance(config, TokenizerRun):
        model = FSQTokenizer(config.model)
    elif isinstance(config, ClipRun):
        model = Clip(config.model, vocab_size=300, end_id=2)
    else:
        model = Dalle(config.model, text_vocab_size=300, image_vocab_size=512, grid=8, end_id=2)
    assert sum(p.numel() for p in model.parameters()) < 20e6  # all of these are for laptops


@pytest.mark.parametrize("name", [name for name, config in presets().items() if isinstance(config, DalleRun)])
def test_a_decoder_stands_on_the_tokenizer_of_the_same_data(name):
    config = preset(name)
    assert isinstance(config, DalleRun)
    trained = {c.data.shards: n for n, c in presets().items() if isinstance(c, TokenizerRun)}
    assert config.data.shards in trained


def test_a_misspelt_preset_names_the_nearest():
    with pytest.raises(UserError, match="did you mean clip-shapes"):
        preset("clip-shape")


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
