"""Small models of open_clip and Hugging Face, of which nothing is as it starts: a swapped tensor would be seen."""

import copy
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor, nn

from calligram.clip.model import Clip, ClipConfig
from calligram.clip.weights.layout import State

CLOSE = 1e-5  # relative, in fp32
VOCAB, END = 60, 59

TEXT = {"context_length": 9, "vocab_size": VOCAB, "width": 32, "heads": 4, "layers": 2}
VIT = {"image_size": 32, "patch_size": 8, "width": 48, "head_width": 12, "layers": 2}
OPEN_CLIP: dict[str, dict[str, Any]] = {
    "vit": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT},
    "vit-quickgelu": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "odd": {
        "embed_dim": 20,
        "vision_cfg": {
            **VIT,
            "mlp_ratio": 2.7,
            "no_ln_pre": True,
            "pos_embed_type": "sin_cos_2d",
            "norm_kwargs": {"eps": 1e-3},
            "act_kwargs": {"approximate": "tanh"},
        },
        "text_cfg": {**TEXT, "mlp_ratio": 3.1, "proj_bias": True, "norm_kwargs": {"eps": 1e-3}},
    },
    "clipa": {  # arXiv 2305.07017
        "embed_dim": 24,
        "vision_cfg": {**VIT, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last"},
    },
    "averaged": {"embed_dim": 24, "vision_cfg": {**VIT, "pool_type": "avg"}, "text_cfg": TEXT},
    "coca": {  # its two encoders
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {**VIT, "attentional_pool": True, "attn_pooler_queries": 1, "attn_pooler_heads": 6},
        "text_cfg": {**TEXT, "embed_cls": True},
    },
    "custom": {"embed_dim": 24, "custom_text": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [2, 1, 2, 1], "width": 8, "head_width": 16, "patch_size": None},
        "text_cfg": TEXT,
    },
    "siglip": {
        "embed_dim": 192,
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": {
            "image_size": 224,
            "timm_model_name": "calligram_tiny_siglip",
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            **TEXT,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
            "act_kwargs": {"approximate": "tanh"},
        },
    },
    "timm": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {"image_size": 64, "timm_model_name": "resnet10t", "timm_pool": "avg", "timm_proj": "linear"},
        "text_cfg": TEXT,
    },
}


def register_tiny_siglip() -> None:
    """A timm ViT of SigLIP's kind, small; timm knows models by functions of their name."""
    import timm
    from timm.models import register_model
    from timm.models.vision_transformer import _create_vision_transformer

    if timm.is_model("calligram_tiny_siglip"):
        return

    def calligram_tiny_siglip(pretrained: bool = False, **options: Any) -> nn.Module:
        size = {"patch_size": 56, "embed_dim": 192, "depth": 2, "num_heads": 3, "class_token": False}
        return _create_vision_transformer("vit_base_patch16_siglip_224", **{**size, "global_pool": "map", **options})

    calligram_tiny_siglip.__module__ = "timm.models.vision_transformer"
    register_model(calligram_tiny_siglip)


def open_clip_model(config: dict[str, Any]) -> nn.Module:
    register_tiny_siglip()
    config = copy.deepcopy(config)
    kind = CustomTextCLIP if config.pop("custom_text", False) else CLIP
    torch.manual_seed(0)
    return perturbed(kind(**config))


def perturbed(model: nn.Module, share: float = 0.5, least: float = 0.12) -> nn.Module:
    """Biases, gains, temperatures and statistics start as constants; weights of some layers as zeros.

    Each tensor gets noise of ``share`` of its own spread, and of ``least`` beside.
    """
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, x in model.state_dict().items():  # its values are the model's own
            if "running_var" in name:
                x += torch.rand(x.shape, generator=random)
            elif x.is_floating_point():
                spread = share * x.std() + least if x.ndim and x.numel() > 1 else 0.2
                x += spread * torch.randn(x.shape, generator=random)
    return model.eval()


def some_texts(length: int, vocab: int = VOCAB, end: int = END, pad: int = 0) -> Tensor:
    """Ids of five texts of several lengths, one of them full."""
    random = torch.Generator().manual_seed(2)
    ids = torch.randint(1, min(vocab, end), (5, length), generator=random)
    for row, last in enumerate((2, 4, length - 1, 3, length // 2)):
        ids[row, last], ids[row, last + 1 :] = end, pad
    return ids


def some_images(config: ClipConfig) -> Tensor:
    """Four fields of colours with noise: noise alone looks the same to a large network."""
    size, random = config.image_size, torch.Generator().manual_seed(3)
    fields = F.interpolate(torch.rand(4, 3, 3, 3, generator=random), size=(size, size), mode="bilinear")
    return 0.8 * fields + 0.2 * torch.rand(4, 3, size, size, generator=random)


def normalised(images: Tensor, config: ClipConfig) -> Tensor:
    return (images - torch.tensor(config.mean).view(3, 1, 1)) / torch.tensor(config.std).view(3, 1, 1)


def our_model(config: ClipConfig, state: State, vocab: int = VOCAB, end: int = END) -> Clip:
    model = Clip(config, vocab, end)
    model.load_state_dict(state)
    return model.eval()


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@torch.no_grad()
def differences(ours: Clip, theirs: nn.Module, text: Tensor) -> tuple[float, float, float]:
    """Of image features, text features and logits, relative; ``theirs`` is open_clip's or Hugging Face's."""
    images = some_images(ours.config)
    image, words = ours.encode_image(images), ours.encode_text(text)
    bias = 0 if ours.logit_bias is None else ours.logit_bias
    logits = ours.scale() * image @ words.T + bias
    pixels = normalised(images, ours.config)
    if hasattr(theirs, "get_logits"):
        their_image = theirs.encode_image(pixels, normalize=True)
        their_text, their_logits = theirs.encode_text(text, normalize=True), theirs.get_logits(pixels, text)[0]
    else:
        out = theirs(input_ids=text, pixel_values=pixels)
        their_image, their_text, their_logits = out.image_embeds, out.text_embeds, out.logits_per_image
    assert torch.pdist(their_image).min() > 1e-3, "pictures that all look alike would test nothing"
    assert torch.pdist(their_text).min() > 1e-3
    return relative(image, their_image), relative(words, their_text), relative(logits, their_logits)


def list_tensors(model: nn.Module) -> State:
    return {name: x.detach().clone() for name, x in model.state_dict().items()}


def full_config(name: str) -> dict[str, Any]:
    found = open_clip.get_model_config(name)
    assert found is not None
    return found
