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


@torch.no_grad()
def test_trimming_is_exact_against_running_over_every_pad(monkeypatch):
    tower = text_tower()
    trimmed = tower(padded(TEXTS, 12))
    monkeypatch.setattr("calligram.clip.towers.trim_to_longest", lambda ids, end_id: ids)
    torch.testing.assert_close(tower(padded(TEXTS, 12)), trimmed, atol=1e-6, rtol=0)


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


def test_wrong_configs_are_refused_with_the_reason():
    with pytest.raises(UserError, match="timm has no model 'resnet-nonsense'"):
        build_image_tower(TimmConfig(name="resnet-nonsense"), 32)
    with pytest.raises(ValidationError, match="image_size 30 is not divisible by patch 16"):
        ClipConfig(image_size=30)
    with pytest.raises(ValidationError, match="patch 6 is not divisible by 4, the stride of the stem"):
        ViTConfig(patch=6, stem=(8, 16))
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        TextTowerConfig(context_length=2)
