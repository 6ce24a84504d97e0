import pytest
import timm
import torch

from calligram.nn.timm_attention import OurAttention, use_our_attention

SMALL = {"num_classes": 0, "img_size": 32}


def perturbed(model: torch.nn.Module) -> torch.nn.Module:
    """Biases and gains start as constants, and scales of layers near 0, which would hide a mistake in them."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_tiny_patch16_224", {"qk_norm": True}),
        ("deit3_small_patch16_224", {"depth": 2}),
    ],
)
def test_output_and_gradients_are_those_of_timm(name, options):
    model = perturbed(timm.create_model(name, **SMALL, **options))
    names, images = list(model.state_dict()), torch.rand(2, 3, 32, 32)
    parameters = list(model.parameters())
    expected = model(images)
    gradients = torch.autograd.grad(expected.sin().sum(), parameters)
    assert use_our_attention(model) == len(model.blocks)
    assert list(model.state_dict()) == names
    ours = model(images)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.autograd.grad(ours.sin().sum(), parameters), gradients, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, {"scale_norm": True}, {"gated": True}], ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_every_option_of_the_layer(options, causal):
    torch.manual_seed(0)
    theirs = timm.models.vision_transformer.Attention(24, num_heads=3, norm_layer=torch.nn.LayerNorm, **options)
    theirs = perturbed(theirs)
    ours = OurAttention(24, num_heads=3, norm_layer=torch.nn.LayerNorm, **options).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 7, 24)
    torch.testing.assert_close(ours(x, is_causal=causal), theirs(x, is_causal=causal), atol=1e-6, rtol=1e-5)
    mask = torch.rand(7, 7) > 0.5
    mask.fill_diagonal_(True)
    torch.testing.assert_close(ours(x, attn_mask=mask), theirs(x, attn_mask=mask), atol=1e-6, rtol=1e-5)


def test_dropped_weights_stay_with_timm():
    layer = OurAttention(24, num_heads=3, attn_drop=0.5)
    x = torch.randn(2, 7, 24)
    assert not torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("name", ["resnet10t", "vit_relpos_small_patch16_224", "eva02_tiny_patch14_224"])
def test_other_kinds_of_attention_keep_their_own(name):
    size = {} if name == "resnet10t" else {"img_size": 28 if "14" in name else 32}
    model = timm.create_model(name, num_classes=0, **size)
    assert use_our_attention(model) == 0
