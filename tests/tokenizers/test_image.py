"""What every kind of image tokenizer keeps to."""

import json

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from calligram.tokenizers.autoencoder import AutoencoderConfig
from calligram.tokenizers.fsq import FSQConfig, FSQTokenizer
from calligram.tokenizers.image import ImageTokenizer, ImageTokenizerConfig, build_image_tokenizer
from calligram.tokenizers.run import fingerprint, load_tokenizer, save_tokenizer
from calligram.tokenizers.task import ReconstructionTask
from tests.tokenizers.kinds import KINDS, pictures, trained

CONFIG: TypeAdapter = TypeAdapter(ImageTokenizerConfig)


@pytest.fixture(scope="module", params=sorted(KINDS))
def model(request) -> ImageTokenizer:
    return trained(request.param)


def test_ids_are_those_of_the_vocabulary_one_for_each_cell(model):
    ids = model.encode(pictures())
    assert model.grid == 4
    assert ids.shape == (6, 16) and ids.dtype == torch.int64
    assert ids.min() >= 0 and ids.max() < model.vocab_size
    assert len(ids.unique()) > 3


def test_every_id_has_a_picture(model):
    ids = torch.arange(32).clamp(max=model.vocab_size - 1).view(2, 16)
    decoded = model.decode(ids)
    assert decoded.shape == (2, 3, 16, 16)
    assert decoded.min() >= 0 and decoded.max() <= 1
    assert (decoded[0] - decoded[1]).abs().max() > 1e-3


def test_a_picture_does_not_depend_on_its_batch(model):
    images = pictures()
    together = model.encode(images)
    assert torch.equal(together, torch.cat([model.encode(image[None]) for image in images]))
    torch.testing.assert_close(model.decode(together)[2:3], model.decode(together[2:3]), atol=1e-5, rtol=1e-5)
    assert torch.equal(model.encode(images / 255), together)


def test_use_changes_nothing(model):
    before = fingerprint(model)
    model.decode(model.encode(pictures()))
    assert fingerprint(model) == before


def test_training_and_use_take_the_same_way(model):
    """In eval mode what ``learn`` makes of a picture is what decode makes of its ids."""
    with torch.no_grad():
        rebuilt, ids = model(pictures())
    assert torch.equal(ids.flatten(1).long(), model.encode(pictures()))
    torch.testing.assert_close(rebuilt.clamp(0, 1), model.decode(ids.flatten(1).long()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_it_comes_back_from_the_disk(kind, tmp_path):
    model = trained(kind)
    save_tokenizer(model, tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.config == model.config and not loaded.training
    assert fingerprint(loaded) == fingerprint(model)
    ids = model.encode(pictures())
    assert torch.equal(loaded.encode(pictures()), ids)
    assert torch.equal(loaded.decode(ids), model.decode(ids))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_config_survives_json(kind):
    config = KINDS[kind]
    assert CONFIG.validate_python(json.loads(config.model_dump_json())) == config


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_weight_learns(kind):
    model = trained(kind).train()
    loss, metrics = ReconstructionTask(model)({"image": pictures()})
    loss.backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # codes that no latent chose have no gradient, but their table has
    assert still == []
    assert {"psnr_db", "batch_usage", "batch_perplexity", "dead_codes"} <= metrics.keys()
    assert all(value.ndim == 0 and value.isfinite() for value in metrics.values())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_few_steps_bring_the_reconstruction_nearer(kind):
    torch.manual_seed(0)
    model = build_image_tokenizer(KINDS[kind]).train()
    task = ReconstructionTask(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    errors = []
    for step in range(40):
        task.at_step(step)
        loss, metrics = task({"image": pictures(16)})
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        errors.append(metrics["psnr_db"].item())
    assert sum(errors[-5:]) / 5 > sum(errors[:3]) / 3 + 0.3


def test_fsq_keeps_the_fingerprint_it_had_before_there_were_others():
    config = FSQConfig(image_size=16, levels=(5, 4), autoencoder=AutoencoderConfig(channels=(16,), num_blocks=1))
    model, start = FSQTokenizer(config), 0
    for x in model.state_dict().values():
        x.copy_(torch.arange(start, start + x.numel()).remainder(97).sub(48).div(64).view_as(x))
        start += x.numel()
    assert fingerprint(model) == "2bd323a5656fb44a"


def test_a_config_that_names_no_kind_is_one_of_the_time_when_there_was_one():
    written = {"image_size": 16, "levels": [5, 4], "autoencoder": {"patch": 4, "channels": [16], "num_blocks": 1}}
    assert CONFIG.validate_python(written) == KINDS["fsq"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"type": "vq", "image_size": 18}, "image_size 18 is not divisible by 8, the autoencoder's patch times 2"),
        ({"type": "lfq", "image_size": 12, "autoencoder": {"type": "vit"}}, "image_size 12 is not divisible by 8"),
        ({"type": "dvae", "image_size": 20}, "image_size 20 is not divisible by 8, which num_groups 4"),
        ({"type": "dvae", "width": 30}, "width 30 is not divisible by 4"),
        ({"type": "vqgan", "width": 48}, "has to be divisible by 32"),
        ({"type": "vqgan", "image_size": 250}, "image_size 250 is not divisible by 16"),
        ({"type": "magic"}, "'fsq', 'vq', 'lfq', 'dvae', 'vqgan'"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(given, said):
    with pytest.raises(ValidationError, match=said):
        CONFIG.validate_python(given)
