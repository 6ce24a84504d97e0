"""open_clip's names of tensors, which are also OpenAI's, ⇄ ours."""

from collections.abc import Mapping

import torch

from calligram.clip.model import ClipConfig
from calligram.clip.towers import (
    HFTextConfig,
    HFTextTower,
    ResNet,
    ResNetConfig,
    TextTowerConfig,
    TimmConfig,
    TimmTower,
    ViTConfig,
)
from calligram.clip.weights.blocks import OPEN_CLIP_BLOCK
from calligram.clip.weights.layout import (
    FIRST,
    HALVES,
    NUMBER,
    SAME,
    TRANSPOSED,
    How,
    Rule,
    State,
    block_rules,
    rules,
)
from calligram.clip.weights.timm_vit import timm_vit_rules
from calligram.errors import UserError

POOLER, DECODER = "visual.attn_pool.", "text_decoder."
TEXT_BLOCK = "text.transformer.blocks.{}."
IMAGE_BLOCK = "visual.transformer.blocks.{}."


def plain_names(state: State) -> State:
    """Text names without the ``text.`` that some of its models put before them, and a pooler's projections apart.

    PyTorch joins the latter where picture and pooler are equally wide.
    """
    plain = {name.removeprefix("text."): x for name, x in state.items()}
    joined = plain.pop(f"{POOLER}attn.in_proj_weight", None)
    parts = zip("qkv", joined.chunk(3), strict=True) if joined is not None else ()
    return plain | {f"{POOLER}attn.{x}_proj_weight": part for x, part in parts}


def without_decoder(state: State) -> tuple[State, int]:
    """CoCa's two encoders, and how many tensors of its decoder, which writes captions, are left out."""
    kept = {name: x for name, x in state.items() if not name.startswith(DECODER)}
    return kept, len(state) - len(kept)


def open_clip_rules(config: ClipConfig) -> list[Rule]:
    """Where each tensor of ours is in its layout."""
    text = _hf_text_rules(config.text) if isinstance(config.text, HFTextConfig) else _text_rules(config.text)
    numbers = ["logit_scale", *(["logit_bias"] if config.init_bias is not None else [])]
    return [*text, *_image_rules(config), *(Rule(name, (name,), NUMBER) for name in numbers)]


def _text_rules(text: TextTowerConfig) -> list[Rule]:
    if text.token_shift:
        raise UserError("open_clip's layout has no place for a token_shift")
    found = rules({"text.embed.weight": "token_embedding.weight", "text.positions": "positional_embedding"})
    if text.pool == "class":
        found += rules({"text.class_token": "cls_emb"})
    found += block_rules(OPEN_CLIP_BLOCK, text.transformer.num_layers, TEXT_BLOCK, "transformer.resblocks.{}.")
    found += rules({"text.transformer.norm.*": "ln_final.*"})
    if text.projection == "linear":
        found.append(Rule("text_projection.weight", ("text_projection",), TRANSPOSED))
    if text.projection == "affine":
        found += rules({"text_projection.*": "text_projection.*"})
    if text.projection == "mlp":
        raise UserError("open_clip has two layers behind texts of Hugging Face's models only: its layout has no place")
    return found


def _hf_text_rules(text: HFTextConfig) -> list[Rule]:
    """The model's own names, which it tells when it is built."""
    with torch.device("meta"):
        names = HFTextTower(text.model_copy(update={"pretrained": False}), 1, 0).state_dict()
    found = _kept({f"text.{x}": f"transformer.{x.removeprefix('model.')}" for x in names})
    if text.projection == "affine":
        raise UserError("open_clip's projection of a text model of Hugging Face has no bias: its layout has no place")
    layers = {"linear": ("",), "mlp": ("0.", "2."), "none": ()}[text.projection]
    return found + [Rule(f"text_projection.{x}weight", (f"proj.{x}weight",)) for x in layers]


def _image_rules(config: ClipConfig) -> list[Rule]:
    image = config.image
    if isinstance(image, ResNetConfig):
        return _resnet_rules(image)
    if isinstance(image, TimmConfig):
        return _timm_rules(config, image)
    if image.pool == "attention":
        return timm_vit_rules(image, "visual.trunk.")
    if image.stem or not image.num_class_tokens or image.patch_bias or image.projection != "linear":
        raise UserError(
            "open_clip's ViT has no convolutional stem, no patch_bias and no mean of tokens without a class token: "
            "its layout cannot hold this image tower"
        )
    if image.positions == "rotary":
        raise UserError("open_clip's ViT has no rotary positions: its layout cannot hold this image tower")
    found = rules(
        {
            "visual.class_token": "visual.class_embedding",
            "visual.embed.weight": "visual.conv1.weight",
            "visual.positions": "visual.positional_embedding",
            _last_norm(image): "visual.ln_post.*",
            **({"visual.norm_pre.*": "visual.ln_pre.*"} if image.pre_norm else {}),
        }
    )
    theirs = "visual.transformer.resblocks.{}."
    found += block_rules(OPEN_CLIP_BLOCK, image.transformer.num_layers, IMAGE_BLOCK, theirs)
    found += _pooler_rules() if image.pool == "query" else []
    return [*found, Rule("visual_projection.weight", ("visual.proj",), TRANSPOSED)]


def _last_norm(image: ViTConfig) -> str:
    where = "pool.norm" if image.pool == "query" else "norm_post" if image.norm_after_pool else "transformer.norm"
    return f"visual.{where}.*"


def _pooler_rules() -> list[Rule]:
    """CoCa's, of whose questions the first is about the picture as a whole."""
    table = {"qkv_bias": "attn.in_proj_bias", "q.weight": "attn.q_proj_weight", "out.*": "attn.out_proj.*"}
    found = rules({**table, "norm_q.*": "ln_q.*", "norm_k.*": "ln_k.*"}, "visual.pool.", POOLER)
    kv = tuple(f"{POOLER}attn.{x}_proj_weight" for x in "kv")
    return [*found, Rule("visual.pool.kv.weight", kv, HALVES), Rule("visual.pool.probe", (f"{POOLER}query",), FIRST)]


def _resnet_rules(image: ResNetConfig) -> list[Rule]:
    """Its names are ours, but for the pool at the end."""
    pool: Mapping[str, str | tuple[str, ...]] = {
        "visual.attnpool.positions": "visual.attnpool.positional_embedding",
        "visual.attnpool.qkv.*": tuple(f"visual.attnpool.{x}_proj.*" for x in "qkv"),
        "visual_projection.*": "visual.attnpool.c_proj.*",
    }
    names = ResNet(image, 32).state_dict()
    return [*_kept({f"visual.{x}": f"visual.{x}" for x in names if not x.startswith("attnpool.")}), *rules(pool)]


def _timm_rules(config: ClipConfig, image: TimmConfig) -> list[Rule]:
    names = TimmTower(image.model_copy(update={"pretrained": False}), config.image_size).state_dict()
    found = _kept({f"visual.{x}": f"visual.trunk.{x.removeprefix('model.')}" for x in names})
    kinds = {"linear": ("weight",), "affine": ("weight", "bias"), "none": ()}[image.projection]
    return found + [Rule(f"visual_projection.{x}", (f"visual.head.proj.{x}",)) for x in kinds]


def _kept(names: Mapping[str, str], how: How = SAME) -> list[Rule]:
    return [Rule(ours, (theirs,), how) for ours, theirs in names.items()]
