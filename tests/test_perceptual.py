"""What other models think of a reconstruction, and a training that listens to them."""

from pathlib import Path

import pytest
import torch
import torchvision

from calligram import runs
from calligram.clip.load import load_model
from calligram.clip.model import Clip, ClipConfig
from calligram.clip.towers import ResNetConfig, TextTowerConfig, TimmConfig
from calligram.data.training import DataConfig
from calligram.errors import UserError
from calligram.nn.transformer import TransformerConfig
from calligram.presets.build import start
from calligram.presets.config import TokenizerRun
from calligram.presets.perceptual import ClipFeatures, clip_distance, distances
from calligram.tokenizers.losses import TokenizerLossConfig
from calligram.tokenizers.lpips import load_lpips
from calligram.train.config import TrainConfig
from tests.tokenizers.kinds import KINDS, pictures

TEXT = TextTowerConfig(transformer=TransformerConfig(width=8, num_layers=1, num_heads=2))


def test_the_distance_is_that_of_directions_in_the_layers(tiny_runs):
    distance = clip_distance(tiny_runs.clip, "cpu")
    images = pictures() / 255
    other = images.flip(-1)
    model, _ = load_model(tiny_runs.clip)
    model.eval()
    found = []
    for x in (images, other):
        normalised = (x - model.mean) / model.std
        tokens = model.visual.embed(normalised).flatten(2).transpose(1, 2) + model.visual.positions
        layers = []
        for block in model.visual.transformer.blocks:
            tokens = block(tokens)
            layers.append(tokens / tokens.norm(dim=-1, keepdim=True))
        found.append(layers)
    by_hand = torch.stack([(a - b).square().sum(-1).mean() for a, b in zip(*found, strict=True)]).mean()
    torch.testing.assert_close(distance(images, other), by_hand)
    assert distance(images, images) == 0 and by_hand > 0


def test_gradients_reach_the_reconstruction_and_not_the_clip(tiny_runs):
    rebuilt = (pictures(2) / 255).requires_grad_()
    clip_distance(tiny_runs.clip, "cpu")(rebuilt, pictures(2).flip(-1) / 255).backward()
    assert rebuilt.grad is not None and rebuilt.grad.abs().max() > 0


def test_pictures_of_another_size_are_resized(tiny_runs):
    model, _ = load_model(tiny_runs.clip)
    found = ClipFeatures(model, "CLIP")(pictures(2, 32) / 255)
    assert [x.shape[1] for x in found] == [4]  # 16 pixels a side in patches of 8


def test_a_resnet_has_four_stages_and_a_timm_model_is_refused():
    torch.manual_seed(0)
    resnet = ResNetConfig(blocks=(1, 1, 1, 1), channels=8, num_heads=4)
    model = Clip(ClipConfig(image_size=32, embed_dim=8, image=resnet, text=TEXT), 30, 2)
    assert len(ClipFeatures(model, "CLIP")(pictures(2, 32) / 255)) == 4
    other = Clip(ClipConfig(image_size=32, embed_dim=8, image=TimmConfig(name="resnet10t"), text=TEXT), 30, 2)
    with pytest.raises(UserError, match=r"--loss\.perceptual runs/x: its image tower has no layers that are known"):
        ClipFeatures(other, "--loss.perceptual runs/x")


def test_a_training_listens_to_a_clip(tiny_runs, tmp_path):
    config = TokenizerRun(
        data=DataConfig(shards=tiny_runs.shards, num_workers=0),
        model=KINDS["vq"],
        loss=TokenizerLossConfig(perceptual=tiny_runs.clip, perceptual_weight=0.5),
        train=TrainConfig(steps=2, batch_size=8, warmup_steps=1, log_every=1, save_every=2),
    )
    start(config, tmp_path / "run")
    assert all(row["perceptual_loss"] > 0 for row in runs.read_metrics(tmp_path / "run"))
    assert not any("visual" in name for name in runs.read_weights(runs.weights(tmp_path / "run")))


def test_a_run_that_is_no_clip_is_refused(tiny_runs):
    with pytest.raises(UserError, match="is a tokenizer run, but a clip run is needed here"):
        distances(TokenizerLossConfig(perceptual=tiny_runs.tokenizer), "cpu")
    assert distances(TokenizerLossConfig(), "cpu") == {}


@pytest.fixture(scope="module")
def vgg(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    state = torchvision.models.vgg16(weights=None).features.state_dict()
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save({f"features.{name}": x for name, x in state.items()}, path)
    return path


@pytest.mark.slow
def test_lpips_is_that_of_torchmetrics_with_the_same_weights(vgg):
    from torchmetrics.functional.image.lpips import _LPIPS

    distance = load_lpips(vgg)
    images, other = pictures(2, 32) / 255, pictures(2, 32, seed=5) / 255
    theirs = _LPIPS(pretrained=True, net="vgg", pnet_rand=True)
    state = torch.load(vgg, weights_only=True)
    for name in theirs.net.state_dict():
        theirs.net.get_parameter(name).data.copy_(state["features." + name.split(".", 1)[1]])
    torch.testing.assert_close(distance(images, other), theirs.eval()(images * 2 - 1, other * 2 - 1).mean())
    assert distance(images, images).abs() < 1e-6 < distance(images, other)
    images.requires_grad_()
    distance(images, other).backward()
    assert images.grad is not None and images.grad.abs().max() > 0


def test_another_file_is_no_vgg(tmp_path):
    torch.save({"features.0.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(
        UserError, match=r"is no VGG-16 of torchvision: it has no features\.0\.weight of \(64, 3, 3, 3\)"
    ):
        load_lpips(tmp_path / "other.pth")
