"""Image tokenizers on disk."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from calligram.errors import UserError
from calligram.tokenizers.autoencoder import AutoencoderConfig
from calligram.tokenizers.fsq import FSQConfig, FSQTokenizer
from calligram.tokenizers.run import fingerprint, load_tokenizer, save_tokenizer

CONFIG = FSQConfig(image_size=16, levels=(5, 4), autoencoder=AutoencoderConfig(patch=4, channels=(16,), num_blocks=1))


@pytest.fixture
def model() -> FSQTokenizer:
    torch.manual_seed(0)
    return FSQTokenizer(CONFIG).eval()


@pytest.fixture
def folder(model, tmp_path):
    save_tokenizer(model, tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def test_a_tokenizer_comes_back_as_it_was(model, folder):
    loaded = load_tokenizer(folder)
    assert loaded.config == CONFIG and not loaded.training
    images = torch.rand(3, 3, 16, 16)
    assert torch.equal(loaded.encode(images), model.encode(images))
    assert torch.equal(loaded.decode(loaded.encode(images)), model.decode(model.encode(images)))
    assert fingerprint(loaded) == fingerprint(model)


def test_the_fingerprint_tells_weights_and_configs_apart(model):
    before = fingerprint(model)
    assert len(before) == 16 and int(before, 16) >= 0
    weight = model.decoder.layers[-2].weight.data
    weight[0, 0, 0, 0] += 1e-6
    changed = fingerprint(model)
    assert changed != before
    same_weights = FSQTokenizer(CONFIG.model_copy(update={"levels": (4, 5)}))
    same_weights.load_state_dict(model.state_dict())
    assert fingerprint(same_weights) != changed


def test_the_fingerprint_ignores_how_weights_lie_in_memory(model):
    assert fingerprint(model) == fingerprint(model.to(memory_format=torch.channels_last))


def test_what_is_no_tokenizer_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_tokenizer(tmp_path / "nowhere")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "type": "clip"}))
    with pytest.raises(UserError, match="is a clip run, but a tokenizer run is needed here"):
        load_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps({**config, "model": {"levels": [8, 1]}}))
    with pytest.raises(UserError, match="does not describe an image tokenizer"):
        load_tokenizer(folder)


def test_weights_of_another_shape_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(iter(weights)))
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match="does not fit the model of its config"):
        load_tokenizer(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="is not a safetensors file"):
        load_tokenizer(folder)
