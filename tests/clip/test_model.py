import math

import pytest
import torch

from calligram.clip.model import MAX_LOGIT_SCALE, Clip, ClipConfig
from calligram.clip.task import ClipTask
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.nn.transformer import TransformerConfig

SMALL = TransformerConfig(width=16, num_layers=1, num_heads=2)
CONFIG = ClipConfig(
    image_size=8,
    embed_dim=12,
    image=ViTConfig(patch=4, transformer=SMALL),
    text=TextTowerConfig(context_length=6, transformer=SMALL),
)


@pytest.fixture
def model() -> Clip:
    torch.manual_seed(0)
    return Clip(CONFIG, vocab_size=10, end_id=2)


TEXT = torch.tensor([[1, 5, 2, 0, 0, 0], [1, 6, 7, 2, 0, 0], [1, 8, 2, 0, 0, 0]])


def test_both_towers_end_on_the_unit_sphere(model):
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    for vectors in (model.encode_image(images), model.encode_text(TEXT)):
        assert vectors.shape == (3, 12)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(model.encode_image(images), model.encode_image(images / 255))


def test_pixels_are_normalised_by_the_config():
    torch.manual_seed(0)
    plain = Clip(CONFIG.model_copy(update={"mean": (0, 0, 0), "std": (1, 1, 1)}), 10, 2)
    torch.manual_seed(0)
    other = Clip(CONFIG.model_copy(update={"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 2)}), 10, 2)
    images = torch.rand(2, 3, 8, 8)
    by_hand = (images - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.25, 2]).view(3, 1, 1)
    torch.testing.assert_close(other.encode_image(images), plain.encode_image(by_hand))


@pytest.mark.parametrize(("before", "after"), [(5.0, MAX_LOGIT_SCALE), (-1.0, 0.0), (3.0, 3.0)])
def test_the_temperature_stays_where_the_paper_keeps_it(model, before, after):
    assert model.scale().item() == pytest.approx(1 / 0.07)
    model.logit_scale.data.fill_(before)
    ClipTask(model).after_step()
    assert model.scale().item() == pytest.approx(math.exp(after))


def test_the_temperature_still_learns_at_its_bound(model):
    model.logit_scale.data.fill_(9)
    ClipTask(model).after_step()
    loss, metrics = ClipTask(model)({"image": torch.rand(3, 3, 8, 8), "text": TEXT})
    loss.backward()
    assert metrics["logit_scale"].item() == pytest.approx(100)
    assert model.logit_scale.grad.abs() > 0


def test_every_weight_gets_a_gradient(model):
    ClipTask(model)({"image": torch.rand(3, 3, 8, 8), "text": TEXT})[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_the_weights_hold_nothing_but_weights(model):
    """mean and std come from the config: a checkpoint cannot disagree with it."""
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
