"""Pictures of several sizes in one row of a Vision Transformer (NaViT, arXiv 2307.06304)."""

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

from calligram.clip.model import Clip, ClipConfig
from calligram.clip.preprocess import PreprocessConfig
from calligram.clip.towers import ResNetConfig, TextTowerConfig, ViT, ViTConfig
from calligram.clip.zero_shot import ClipPipeline, rows_by_tokens
from calligram.errors import UserError
from calligram.nn.positions import interpolate_positions
from calligram.nn.transformer import TransformerConfig
from calligram.tokenizers.text import TextTokenizer
from calligram.train.recompute import recompute_blocks

SMALL = TransformerConfig(width=32, num_layers=2, num_heads=2)
SIZES = [(16, 16), (8, 24), (4, 4), (24, 8), (16, 16), (8, 12), (20, 4)]
KINDS = [(pool, positions) for pool in ("mean", "class", "attention") for positions in ("learned", "sincos", "rotary")]


def vit(size: int = 16, **options) -> ViT:
    torch.manual_seed(0)
    tower = ViT(ViTConfig(patch=4, transformer=SMALL, **options), size).eval()
    for p in tower.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return tower


def mixed(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    g = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=g, dtype=dtype) for size in SIZES]


def gradients(vectors: Tensor, tower: nn.Module) -> tuple[Tensor, ...]:
    return torch.autograd.grad(vectors.sin().sum(), list(tower.parameters()))


@pytest.mark.parametrize(("pool", "positions"), KINDS)
def test_pictures_of_the_towers_own_size_are_what_the_batch_is(pool, positions):
    tower = vit(pool=pool, positions=positions, pre_norm=True)
    images = torch.rand(5, 3, 16, 16)
    ours, expected = tower(list(images)), tower(images)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(gradients(ours, tower), gradients(expected, tower), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("pool", "positions"), KINDS)
def test_in_company_each_picture_is_what_it_is_alone(pool, positions):
    """Alone it goes through as a batch of one, without any packing: the slow twin."""
    tower = vit(pool=pool, positions=positions, pre_norm=True)
    pictures = mixed()
    ours, alone = tower(pictures), torch.cat([tower(x[None]) for x in pictures])
    torch.testing.assert_close(ours, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(gradients(ours, tower), gradients(alone, tower), atol=2e-5, rtol=1e-4)
    assert torch.pdist(ours).min() > 1e-3, "pictures that all look alike would test nothing"


def test_a_stem_reads_them_too():
    tower = vit(stem=(8, 16))
    pictures = mixed()
    torch.testing.assert_close(tower(pictures), torch.cat([tower(x[None]) for x in pictures]), atol=1e-5, rtol=0)


def test_positions_of_another_grid_are_the_own_ones_interpolated():
    table = torch.tensor([[x, y] for y in range(4) for x in range(4)]).float()
    found = interpolate_positions(table, (4, 4), (8, 2)).unflatten(0, (8, 2))
    assert (found[1:, :, 1] - found[:-1, :, 1]).min() >= 0 and (found[:, 1, 0] > found[:, 0, 0]).all()
    assert torch.allclose(interpolate_positions(table, (4, 4), (4, 4)), table)
    tower = vit(pool="class")
    own, (cells, _) = tower.positions[:1], tower._places((2, 6))
    assert torch.equal(cells[:1], own), "the class token is nowhere"
    assert cells.shape == (13, 32)


def test_a_learned_table_is_trained_by_pictures_of_every_grid():
    tower = vit()
    tower([torch.rand(3, 8, 24)]).sum().backward()
    assert tower.positions.grad.abs().amax(1).min() > 0


def test_patch_dropout_leaves_a_share_of_each_picture_out():
    tower = vit(pool="class", patch_dropout=0.5, positions="rotary")
    pictures, lengths = mixed(), []
    tower.transformer.register_forward_pre_hook(
        lambda _, args, named: lengths.append(named["mask"].seqlens if "mask" in named else ()), with_kwargs=True
    )
    assert torch.equal(tower(pictures), tower(pictures))
    tower.train()
    assert not torch.equal(tower(pictures), tower(pictures))
    patches = sorted(height * width // 16 for height, width in SIZES)
    assert lengths[0] == tuple(n + 1 for n in patches)
    assert lengths[2] == tuple(max(1, round(n / 2)) + 1 for n in patches)
    images = torch.rand(3, 3, 16, 16)
    torch.manual_seed(3)
    expected = tower(images)
    torch.manual_seed(3)
    torch.testing.assert_close(tower(list(images)), expected, atol=1e-5, rtol=0)


def test_sides_are_multiples_of_the_patch_unless_the_tower_is_ragged():
    with pytest.raises(ValueError, match="10 x 8 pixels: its sides must be multiples of patch 4"):
        vit()([torch.rand(3, 8, 10)])
    ragged = vit(ragged=True)
    x = torch.rand(3, 8, 10)
    torch.testing.assert_close(ragged([x]), ragged([x[:, :, :8]]))
    with pytest.raises(ValueError, match="3 x 8 pixels"):
        ragged([torch.rand(3, 8, 3)])


def test_blocks_that_are_computed_again_give_the_same_gradient():
    tower, again = vit(), vit()
    assert recompute_blocks(again) == 2
    found, expected = gradients(again(mixed()), again), gradients(tower(mixed()), tower)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_compiled_one_set_of_sizes_is_as_good_as_another():
    frames = []

    def count(graph, example_inputs):
        frames.append(graph)
        return graph

    torch._dynamo.reset()
    tower = vit(pool="attention", positions="rotary")
    compiled = torch.compile(tower, backend=count)
    pictures = mixed()
    for chosen in (pictures, [torch.rand(3, 12, 4 * n) for n in range(1, 8)]):  # N is seen to vary with the second
        torch.testing.assert_close(compiled(chosen), tower(chosen), atol=1e-5, rtol=0)
    seen = len(frames)
    for chosen in (pictures[::-1], [pictures[0]] * 4 + pictures[:3], [torch.rand(3, 4 * n, 8) for n in range(2, 9)]):
        torch.testing.assert_close(compiled(chosen), tower(chosen), atol=1e-5, rtol=0)
    assert 0 < len(frames) == seen, "compiled anew for other sizes"


CONFIG = ClipConfig(
    image_size=16,
    embed_dim=12,
    image=ViTConfig(patch=4, transformer=SMALL),
    text=TextTowerConfig(context_length=20, transformer=SMALL),
    preprocess=PreprocessConfig(resize="native", max_patches=24),
)


def pipeline(config: ClipConfig = CONFIG, **options) -> ClipPipeline:
    torch.manual_seed(0)
    tokenizer = TextTokenizer.train(["a red square", "a green circle"], context_length=20)
    model = Clip(config, tokenizer.vocab_size, tokenizer.end_id)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return ClipPipeline(model, tokenizer, **options)


def photographs() -> list[Image.Image]:
    rng = torch.Generator().manual_seed(2)
    sizes = [(90, 60), (33, 200), (16, 16), (300, 40), (60, 90)]
    return [
        Image.fromarray(torch.randint(0, 256, (h, w, 3), generator=rng, dtype=torch.uint8).numpy()) for w, h in sizes
    ]


def test_a_list_is_normalised_as_a_batch_is():
    model = pipeline().model
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(model.encode_image(list(images)), model.encode_image(images), atol=1e-6, rtol=0)


def test_the_pipeline_keeps_aspect_ratios_and_bounds_tokens():
    clip, numbers = pipeline(tokens_at_once=50), []
    prepared = [clip.prepare(image) for image in photographs()]
    assert [tuple(x.shape[1:]) for x in prepared] == [(16, 24), (48, 8), (16, 16), (8, 48), (24, 16)]
    clip.model.visual.transformer.register_forward_pre_hook(lambda _, args: numbers.append(args[0].shape[1]))
    found = clip.embed_images(photographs())
    assert numbers == [16 + 24, 24 + 24, 24]
    alone = torch.cat([clip.model.encode_image(x[None]) for x in prepared])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)
    assert clip.embed_images([]).shape == clip.embed_prepared([]).shape == (0, 12)
    assert clip.classify(photographs(), ["red", "green"]).shape == (5, 2)


def test_without_a_number_a_picture_has_as_many_patches_as_the_square():
    clip = pipeline(CONFIG.model_copy(update={"preprocess": PreprocessConfig(resize="native")}))
    assert max(x.shape[1] * x.shape[2] // 16 for x in map(clip.prepare, photographs())) == 16


def test_a_budget_is_kept_but_for_a_picture_that_is_beyond_it_alone():
    assert list(rows_by_tokens([5, 1, 3, 9, 2], 6)) == [[1, 4, 2], [0], [3]]
    assert list(rows_by_tokens([], 6)) == []


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValidationError, match="native takes a ViT of ours"):
        ClipConfig(image_size=64, image=ResNetConfig(), preprocess=PreprocessConfig(resize="native"))
    with pytest.raises(ValidationError, match="max_patches 9 is for resize native"):
        PreprocessConfig(max_patches=9)
    resnet = Clip(ClipConfig(image_size=32, image=ResNetConfig(blocks=(1, 1, 1, 1), channels=8, num_heads=4)), 20, 2)
    with pytest.raises(UserError, match="only a ViT of ours reads them, this model's tower is a resnet"):
        resnet.encode_image([torch.rand(3, 32, 32)])


def test_configs_are_written_as_before_where_nothing_is_native():
    """A model's fingerprint, by which indexes and label vectors are found again, depends on it."""
    assert PreprocessConfig().model_dump() == {"resize": "crop", "filter": "bicubic", "like": "calligram"}
    native = PreprocessConfig(resize="native", max_patches=9)
    assert PreprocessConfig.model_validate(native.model_dump(mode="json")) == native
