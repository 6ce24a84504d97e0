"""What image and text towers can be besides the plainest kind; the plainest is in test_towers.py."""

import json

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from transformers import AutoModel, BertConfig

from calligram.clip.model import Clip, ClipConfig
from calligram.clip.towers import (
    HFTextConfig,
    ResNet,
    ResNetConfig,
    TextTower,
    TextTowerConfig,
    ViT,
    ViTConfig,
    build_text_tower,
)
from calligram.errors import UserError
from calligram.nn.pool import AttentionPool
from calligram.nn.positions import resize_positions, rotary_2d, rotate, sincos_2d
from calligram.nn.transformer import TransformerConfig, quick_gelu

SMALL = TransformerConfig(width=32, num_layers=2, num_heads=2)
END = 2


def vit(size: int = 16, **options) -> ViT:
    torch.manual_seed(0)
    return ViT(ViTConfig(patch=4, transformer=SMALL, **options), size).eval()


@pytest.mark.parametrize("positions", ["learned", "sincos", "rotary"])
@pytest.mark.parametrize("pool", ["mean", "class", "attention"])
def test_every_pool_and_every_kind_of_positions_knows_where_things_are(pool, positions):
    tower = vit(pool=pool, positions=positions, pre_norm=True)
    for p in tower.parameters():
        p.data += 0.2 * torch.randn_like(p)
    images = torch.rand(2, 3, 16, 16)
    vectors = tower(images)
    assert vectors.shape == (2, 32)
    assert (tower(images.roll(4, dims=3)) - vectors).abs().max() > 1e-4
    assert (tower(images.transpose(2, 3)) - vectors).abs().max() > 1e-4
    vectors.sum().backward()
    without = [name for name, p in tower.named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize("positions", ["sincos", "rotary"])
def test_fixed_positions_are_no_weights_and_fit_any_size(positions):
    small, large = vit(16, positions=positions, pool="class"), vit(24, positions=positions, pool="class")
    large.load_state_dict(small.state_dict())
    assert large(torch.rand(1, 3, 24, 24)).shape == (1, 32)


def test_rotation_makes_products_depend_on_distance_alone():
    turns = rotary_2d(5, 8).unflatten(0, (5, 5))
    q, k = torch.randn(2, 1, 1, 1, 8)

    def product(a: tuple[int, int], b: tuple[int, int]) -> float:
        return float((rotate(q, turns[a][None]) * rotate(k, turns[b][None])).sum())

    assert product((0, 1), (2, 3)) == pytest.approx(product((2, 0), (4, 2)), abs=1e-5)
    assert product((0, 1), (2, 3)) != pytest.approx(product((0, 1), (3, 2)), abs=1e-3)
    assert torch.allclose(rotate(q, turns[3, 4][None]).norm(), q.norm())


def test_sincos_positions_are_all_distinct():
    table = sincos_2d(6, 16)
    assert table.shape == (36, 16)
    assert torch.pdist(table).min() > 0.1
    with pytest.raises(ValueError, match="width 6 is not divisible by 4"):
        sincos_2d(2, 6)


def test_positions_of_another_grid():
    table = torch.cat([torch.full((1, 2), 9.0), torch.tensor([[x, y] for y in range(4) for x in range(4)]).float()])
    larger = resize_positions(table, 65)
    assert torch.equal(larger[0], table[0])
    grid = larger[1:].unflatten(0, (8, 8))
    # what grows from left to right still does, and nothing else
    assert (grid[:, 1:, 0] - grid[:, :-1, 0]).min() > 0
    assert torch.allclose(grid[:, :, 0], grid[:1, :, 0].expand(8, 8), atol=1e-5)
    assert resize_positions(table, 17) is table
    with pytest.raises(ValueError, match="17 positions are no square grid"):
        resize_positions(table, 16)


def test_patch_dropout_leaves_patches_out_in_training_only():
    tower = vit(pool="class", patch_dropout=0.5, positions="rotary")
    images = torch.rand(3, 3, 16, 16)
    lengths = []
    tower.transformer.register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))
    assert torch.equal(tower(images), tower(images))
    tower.train()
    assert not torch.equal(tower(images), tower(images))
    assert lengths == [17, 17, 9, 9]


def test_patch_dropout_keeps_tokens_with_their_places():
    """With all patches but one left out, the picture's vector is that of the one patch where it is."""
    tower = vit(pool="mean", patch_dropout=0.95)
    images = torch.rand(64, 3, 16, 16)[:1].expand(64, -1, -1, -1)
    expected = tower.embed(images[:1]).flatten(2).transpose(1, 2) + tower.positions
    alone = torch.stack([tower.transformer(expected[:, [place]])[0, 0] for place in range(16)])
    tower.train()
    found = tower(images)
    nearest = (found[:, None] - alone).norm(dim=-1).min(1)  # cdist rounds
    assert nearest.values.max() < 1e-4
    assert len(nearest.indices.unique()) > 8


def test_quick_gelu_is_openai_s():
    x = torch.linspace(-6, 6, 101)
    assert torch.equal(quick_gelu(x), x * torch.sigmoid(1.702 * x))
    assert 0.015 < (quick_gelu(x) - nn.functional.gelu(x)).abs().max() < 0.025


def test_an_attention_pool_is_that_of_torch():
    torch.manual_seed(0)
    pool = AttentionPool(SMALL)
    for p in pool.parameters():
        p.data += 0.2 * torch.randn_like(p)
    peer = nn.MultiheadAttention(32, 2, batch_first=True)
    peer.in_proj_weight.data, peer.in_proj_bias.data = pool.qkv.weight.data, pool.qkv.bias.data
    peer.out_proj.load_state_dict(pool.out.state_dict())
    x = torch.randn(3, 7, 32)
    answer = peer(pool.probe.expand(3, 1, -1), x, x)[0][:, 0]
    expected = answer + pool.mlp_out(nn.functional.gelu(pool.mlp_in(pool.norm(answer))))
    torch.testing.assert_close(pool(x), expected, atol=1e-5, rtol=1e-5)


def test_a_resnet_returns_as_many_numbers_as_it_says():
    config = ResNetConfig(blocks=(1, 2, 1, 1), channels=8, num_heads=4)
    model = Clip(ClipConfig(image_size=64, embed_dim=12, image=config), 20, END)
    assert isinstance(model.visual, ResNet)
    assert model.encode_image(torch.rand(2, 3, 64, 64)).shape == (2, 12)
    with pytest.raises(ValidationError, match="image_size 48 is not divisible by 32"):
        ClipConfig(image_size=48, image=config)
    with pytest.raises(ValidationError, match="not divisible by num_heads 7"):
        ResNetConfig(num_heads=7)


def test_a_text_that_is_read_to_its_last_place_must_be_padded():
    config = TextTowerConfig(context_length=6, causal=False, pool="last", transformer=SMALL)
    tower = TextTower(config, 20, END).eval()
    text = torch.tensor([[1, 5, 2, 0, 0, 0], [1, 5, 6, 2, 0, 0]])
    vectors = tower(text)
    changed = text.clone()
    changed[0, 4] = 7
    assert (tower(changed)[0] - vectors[0]).abs().max() > 1e-4, "padding is read"
    with pytest.raises(ValueError, match="4 tokens: this tower reads texts padded to 6"):
        tower(text[:, :4])
    with pytest.raises(ValidationError, match="token_shift"):
        TextTowerConfig(causal=False, token_shift=1)


@pytest.mark.parametrize(("scale", "bias"), [(1 / 0.07, None), (10, -10)])
def test_a_bias_of_the_logits_is_there_where_it_is_asked_for(scale, bias):
    model = Clip(ClipConfig(image_size=16, init_scale=scale, init_bias=bias), 20, END)
    assert model.scale().item() == pytest.approx(scale)
    assert (None if model.logit_bias is None else model.logit_bias.item()) == bias


def test_a_tower_without_projection_must_have_the_width_of_the_space():
    config = ClipConfig(image_size=16, embed_dim=32, image=ViTConfig(projection="none", transformer=SMALL))
    assert Clip(config, 20, END).encode_image(torch.rand(1, 3, 16, 16)).shape == (1, 32)
    with pytest.raises(UserError, match="the tower is 32 wide and embed_dim is 12"):
        Clip(config.model_copy(update={"embed_dim": 12}), 20, END)


def test_configs_of_before_there_was_a_choice_are_read():
    old = {"image_size": 16, "text": {"context_length": 9}}
    assert ClipConfig.model_validate(old).text == TextTowerConfig(context_length=9)


BERT = BertConfig(
    vocab_size=30, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40, pad_token_id=0
)


@pytest.fixture
def bert(tmp_path) -> str:
    torch.manual_seed(0)
    AutoModel.from_config(BERT).save_pretrained(tmp_path / "bert")
    return str(tmp_path / "bert")


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
def test_a_text_model_of_hugging_face_reads_each_text_by_itself(bert, pool):
    config = HFTextConfig(name=bert, pretrained=True, pool=pool, context_length=9)
    tower = build_text_tower(config, 30, END).eval()
    text = torch.tensor([[1, 5, 6, 2, 0, 0, 0], [1, 5, 6, 7, 8, 9, 2]])
    peer = AutoModel.from_pretrained(bert).eval()
    with torch.no_grad():
        alone = [peer(input_ids=row).last_hidden_state[0] for row in (text[:1, :4], text[1:])]
        expected = torch.stack([{"mean": x.mean(0), "first": x[0], "last": x[-1]}[pool] for x in alone])
        torch.testing.assert_close(tower(text), expected, atol=1e-5, rtol=1e-5)
    tower(text).sum().backward()
    trained = [name for name, p in tower.named_parameters() if p.grad is None]
    assert trained == []


def test_a_model_of_hugging_face_is_rebuilt_from_the_config_alone(bert):
    config = ClipConfig(image_size=16, text=HFTextConfig(name=bert, pretrained=True)).resolved()
    stored = ClipConfig.model_validate_json(json.dumps(config.model_dump(mode="json"))).without_download()
    gone = stored.model_copy(update={"text": stored.text.model_copy(update={"name": "gone"})})
    model = Clip(gone, 30, END)
    model.load_state_dict(Clip(config, 30, END).state_dict())
    with pytest.raises(UserError, match="no text model 'nowhere'"):
        HFTextConfig(name="nowhere").resolved()
    with pytest.raises(UserError, match="knows 30 tokens, but the text tokenizer has 31"):
        Clip(config, 31, END)
