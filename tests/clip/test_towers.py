import pytest
import torch
from pydantic import ValidationError

from calligram.clip.model import ClipConfig
from calligram.clip.towers import (
    TextTower,
    TextTowerConfig,
    TimmConfig,
    TimmTower,
    ViT,
    ViTConfig,
    build_image_tower,
)
from calligram.errors import UserError
from calligram.nn.packed import Packing
from calligram.nn.timm_attention import OurAttention
from calligram.nn.transformer import TransformerConfig

SMALL = TransformerConfig(width=32, num_layers=2, num_heads=2)
START, END, PAD = 1, 2, 0


def text_tower(context_length=12, token_shift=0, **options) -> TextTower:
    torch.manual_seed(0)
    transformer = SMALL.model_copy(update=options)
    config = TextTowerConfig(context_length=context_length, token_shift=token_shift, transformer=transformer)
    return TextTower(config, vocab_size=20, end_id=END).eval()


def padded(texts: list[list[int]], length: int, pad: int = PAD) -> torch.Tensor:
    rows = [[START, *text, END] for text in texts]
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


TEXTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]


@pytest.mark.parametrize("token_shift", [0, 2])
@torch.no_grad()
def test_padding_does_not_change_a_texts_vector(token_shift):
    tower = text_tower(token_shift=token_shift)
    at_full_length = tower(padded(TEXTS, 12))
    torch.testing.assert_close(tower(padded(TEXTS, 7)), at_full_length, atol=1e-6, rtol=0)
    torch.testing.assert_close(tower(padded(TEXTS, 12, pad=17)), at_full_length, atol=1e-6, rtol=0)
    alone = torch.cat([tower(padded([text], 12)) for text in TEXTS])
    torch.testing.assert_close(alone, at_full_length, atol=1e-6, rtol=0)


@pytest.fixture(params=[True, False], ids=["packed", "trimmed"])
def packed(request, monkeypatch) -> bool:
    monkeypatch.setattr(Packing, "pays", lambda self, width: request.param)
    return request.param


@pytest.mark.parametrize("token_shift", [0, 2])
def test_a_text_costs_no_more_than_its_words_and_is_the_same(monkeypatch, packed, token_shift):
    """Against a run over every pad: the vectors to 1e-6, and each gradient."""
    tower = text_tower(token_shift=token_shift)
    torch.manual_seed(1)
    texts = [torch.randint(3, 20, (n,)).tolist() for n in (10, 1, 4, 4, 0, 7, 10, 2)]
    ids, num_tokens = padded(texts, 12), []
    tower.transformer.register_forward_pre_hook(lambda _, args: num_tokens.append(args[0][..., 0].numel()))
    ours = tower(ids)
    assert num_tokens == [sum(len(text) + 2 for text in texts) if packed else ids.numel()]
    monkeypatch.setattr(Packing, "pays", lambda self, width: False)
    monkeypatch.setattr("calligram.clip.towers.text.trim_to_longest", lambda ids, end_id: ids)
    expected = tower(ids)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    parameters = list(tower.parameters())
    gradients = [torch.autograd.grad(vectors.sin().sum(), parameters) for vectors in (ours, expected)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_text_without_an_end_is_read_at_its_start_however_it_is_computed(packed):
    ids = padded(TEXTS, 7)
    ids[1] = torch.tensor([START, 5, 6, 7, 8, 9, 10])
    without, alone = text_tower()(ids)[1], text_tower()(torch.tensor([[START, END]]))[0]
    assert not torch.allclose(without, alone)
    other = ids.clone()
    other[1, 1:] = 4
    torch.testing.assert_close(text_tower()(other)[1], without, atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_texts_vector_depends_on_each_word_and_their_order():
    vectors = text_tower()(padded([[5, 6, 7], [5, 6, 8], [6, 5, 7], [5, 6]], 12))
    assert torch.pdist(vectors).min() > 1e-4


@pytest.mark.parametrize("stem", [(), (8, 16)])
def test_a_vit_knows_where_things_are(stem):
    torch.manual_seed(0)
    tower = build_image_tower(ViTConfig(patch=4, stem=stem, transformer=SMALL), 16).eval()
    assert isinstance(tower, ViT)
    images = torch.rand(2, 3, 16, 16)
    vectors = tower(images)
    assert vectors.shape == (2, tower.width) == (2, 32)
    assert (tower(images.roll(4, dims=3)) - vectors).abs().max() > 1e-5


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_a_timm_tower_returns_as_many_numbers_as_it_says(name):
    """A plain network, one that must be told the size, and one that returns more than its features."""
    tower = build_image_tower(TimmConfig(name=name), 32).eval()
    assert isinstance(tower, TimmTower)
    with torch.no_grad():
        assert tower(torch.rand(2, 3, 32, 32)).shape == (2, tower.width)


def test_a_timm_tower_computes_attention_our_way():
    tower = TimmTower(TimmConfig(name="vit_tiny_patch16_224"), 32)
    assert sum(isinstance(module, OurAttention) for module in tower.modules()) == 12


def test_wrong_configs_are_refused_with_the_reason():
    with pytest.raises(UserError, match="timm has no model 'resnet-nonsense'"):
        build_image_tower(TimmConfig(name="resnet-nonsense"), 32)
    with pytest.raises(ValidationError, match="image_size 30 is not divisible by patch 16"):
        ClipConfig(image_size=30)
    with pytest.raises(ValidationError, match="patch 6 is not divisible by 4, the stride of the stem"):
        ViTConfig(patch=6, stem=(8, 16))
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        TextTowerConfig(context_length=2)
