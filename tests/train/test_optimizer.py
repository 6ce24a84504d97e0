import math

import pytest
import torch

from calligram.clip.model import Clip, ClipConfig
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.dalle.model import Dalle, DalleConfig
from calligram.nn.transformer import TransformerConfig
from calligram.train.config import TrainConfig
from calligram.train.optimizer import build_optimizer, layer_scales
from calligram.train.schedule import learning_rate

SMALL = TransformerConfig(width=8, num_layers=1, num_heads=2)


def names_by_decay(model, config=TrainConfig(weight_decay=0.3)) -> tuple[set[str], set[str]]:  # noqa: B008
    names = {id(p): name for name, p in model.named_parameters()}
    groups = build_optimizer(model, config).param_groups
    found = {
        decay: {names[id(p)] for g in groups if g["weight_decay"] == decay for p in g["params"]} for decay in (0.3, 0)
    }
    assert found[0.3] | found[0] == set(names.values())
    return found[0.3], found[0]


BLOCK = ["attention.qkv", "attention.out", "mlp_in", "mlp_out"]


def block_matrices(prefix: str) -> set[str]:
    return {f"{prefix}transformer.blocks.0.{layer}.weight" for layer in BLOCK}


def test_of_a_clip_only_matrices_decay():
    image = ViTConfig(patch=4, stem=(4,), transformer=SMALL)
    model = Clip(ClipConfig(image_size=8, image=image, text=TextTowerConfig(transformer=SMALL)), 10, 2)
    decayed, kept = names_by_decay(model)
    assert decayed == block_matrices("visual.") | block_matrices("text.") | {
        "visual.stem.layers.0.weight",
        "visual.embed.weight",
        "visual_projection.weight",
        "text_projection.weight",
    }
    assert kept >= {"logit_scale", "text.embed.weight", "text.positions", "visual.positions", "visual.embed.bias"}


def test_of_a_dalle_only_matrices_decay():
    decayed, kept = names_by_decay(Dalle(DalleConfig(text_length=4, transformer=SMALL), 10, 11, 2, end_id=2))
    assert decayed == block_matrices("")
    assert kept >= {"pad", "text_positions", "row_positions", "column_positions", "text_embed.weight"}


def test_frozen_weights_are_left_out():
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert [len(group["params"]) for group in build_optimizer(model, TrainConfig()).param_groups] == [1]


def test_the_optimiser_has_the_configs_numbers():
    optimizer = build_optimizer(torch.nn.Linear(3, 2), TrainConfig(lr=0.02, betas=(0.8, 0.9)))
    assert all((group["lr"], group["betas"]) == (0.02, (0.8, 0.9)) for group in optimizer.param_groups)


CONFIG = TrainConfig(steps=111, warmup_steps=10, lr=2.0, final_lr_ratio=0.1)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.2),
        (4, 1.0),
        (9, 2.0),
        (10, 2.0),  # the cosine's first
        (35, 2.0 * (0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)),
        (60, 1.1),  # half-way between 2 and 0.2
        (110, 0.2),
    ],
)
def test_the_learning_rate_warms_up_and_follows_a_cosine(step, expected):
    assert learning_rate(step, CONFIG) == pytest.approx(expected)


def test_short_runs_have_a_learning_rate_too():
    assert learning_rate(0, TrainConfig(steps=1, warmup_steps=0, lr=1.0)) == 1.0
    assert learning_rate(2, TrainConfig(steps=3, warmup_steps=50, lr=1.0)) == pytest.approx(3 / 50)
    assert learning_rate(5, TrainConfig(steps=5, warmup_steps=5, lr=1.0)) == 1.0


def test_of_a_clip_muon_leaves_out_what_reads_pixels_or_is_read_by_the_loss():
    image = ViTConfig(patch=4, stem=(4, 6), stem_blocks=1, transformer=SMALL)
    model = Clip(ClipConfig(image_size=8, image=image, text=TextTowerConfig(transformer=SMALL)), 10, 2)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = build_optimizer(model, TrainConfig(optimizer="muon")).param_groups
    found = {names[id(p)] for g in groups if g["matrices"] for p in g["params"]}
    assert found >= block_matrices("visual.") | block_matrices("text.") | {"visual.embed.weight"}
    convolutions = {name for name, p in model.named_parameters() if p.ndim == 4}
    assert convolutions - found == {"visual.stem.layers.0.weight"}
    assert not found & {"text.embed.weight", "visual_projection.weight", "text_projection.weight", "logit_scale"}


def test_muon_takes_the_matrices_of_the_blocks_alone():
    model = Dalle(DalleConfig(text_length=4, transformer=SMALL), 10, 11, 2, end_id=2)
    names = {id(p): name for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, TrainConfig(optimizer="muon"))
    by_kind = {
        kind: {names[id(p)] for g in optimizer.param_groups if bool(g["matrices"]) is kind for p in g["params"]}
        for kind in (True, False)
    }
    assert by_kind[True] == block_matrices("")
    assert by_kind[True] | by_kind[False] == set(names.values())
    assert not by_kind[True] & by_kind[False]


def test_cooldown_is_constant_and_then_a_line():
    config = TrainConfig(steps=101, warmup_steps=10, schedule="cooldown", cooldown_steps=20, lr=1.0, final_lr_ratio=0.1)
    rates = [learning_rate(step, config) for step in (9, 50, 80, 90, 100)]
    assert rates == pytest.approx([1, 1, 1, 0.55, 0.1])
    constant = TrainConfig(steps=100, warmup_steps=10, schedule="constant", lr=1.0)
    assert [learning_rate(step, constant) for step in (4, 10, 99)] == pytest.approx([0.5, 1, 1])


def test_cooldown_and_its_steps_belong_together():
    for options in ({"schedule": "cooldown"}, {"cooldown_steps": 5}):
        with pytest.raises(ValueError, match="schedule cooldown and cooldown_steps belong together"):
            TrainConfig(**options)


def test_each_block_has_the_share_of_the_next_ones_learning_rate():
    two = TransformerConfig(width=8, num_layers=2, num_heads=2)
    image = ViTConfig(patch=4, stem=(4,), transformer=two)
    model = Clip(ClipConfig(image_size=8, image=image, text=TextTowerConfig(transformer=SMALL)), 10, 2)
    scales = layer_scales([name for name, _ in model.named_parameters()], 0.5)
    assert {name: scales[name] for name in SCALES} == SCALES
    optimizer = build_optimizer(model, TrainConfig(layer_decay=0.5))
    names = {id(p): name for name, p in model.named_parameters()}
    found = {names[id(p)]: g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    assert found == scales


SCALES = {
    "visual.positions": 0.125,
    "visual.stem.layers.0.weight": 0.125,
    "visual.transformer.blocks.0.mlp_in.weight": 0.25,
    "visual.transformer.blocks.1.mlp_in.weight": 0.5,
    "visual.transformer.norm.weight": 1.0,
    "visual_projection.weight": 1.0,
    "text.embed.weight": 0.25,
    "text.transformer.blocks.0.attention.qkv.weight": 0.5,
    "text.transformer.norm.weight": 1.0,
    "logit_scale": 1.0,
}
