"""Hugging Face's CLIPModel, SiglipModel and Siglip2Model: their configs and names ⇄ ours."""

import math
from typing import Any, NamedTuple, get_args

from torch import Tensor

from calligram.clip.model import ClipConfig
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.clip.weights.blocks import HF_BLOCK, mlp_ratio
from calligram.clip.weights.hf_preprocess import Kind, preprocess_from_hf
from calligram.clip.weights.layout import NUMBER, NUMBER_IN_LIST, How, Rule, Table, block_rules, leading, rules
from calligram.clip.weights.open_clip import siglip_start
from calligram.clip.weights.open_clip_names import IMAGE_BLOCK, TEXT_BLOCK
from calligram.errors import UserError
from calligram.nn.transformer import Activation, TransformerConfig

Config = dict[str, Any]

ACTIVATIONS: dict[str, Activation] = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
IGNORED = ("embeddings.position_ids",)  # older files count the places
KERNEL = "visual.embed.weight"

TEXT: Table = {
    "text.embed.weight": "text_model.embeddings.token_embedding.weight",
    "text.positions": "text_model.embeddings.position_embedding.weight",
    "text.transformer.norm.*": "text_model.final_layer_norm.*",
}
IMAGE: Table = {
    "visual.positions": "vision_model.embeddings.position_embedding.weight",
    "visual.transformer.norm.*": "vision_model.post_layernorm.*",
}
CLIP: Table = {
    "visual.embed.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.class_token": "vision_model.embeddings.class_embedding",
    "visual.norm_pre.*": "vision_model.pre_layrnorm.*",  # their spelling
    "visual_projection.weight": "visual_projection.weight",
    "text_projection.weight": "text_projection.weight",
}
SIGLIP: Table = {
    "visual.embed.*": "vision_model.embeddings.patch_embedding.*",
    "visual.pool.qkv.weight": "vision_model.head.attention.in_proj_weight",
    "visual.pool.qkv.bias": "vision_model.head.attention.in_proj_bias",
    "visual.pool.out.*": "vision_model.head.attention.out_proj.*",
    "visual.pool.norm.*": "vision_model.head.layernorm.*",
    "visual.pool.mlp_in.*": "vision_model.head.mlp.fc1.*",
    "visual.pool.mlp_out.*": "vision_model.head.mlp.fc2.*",
    "text_projection.*": "text_model.head.*",
}


class HFModel(NamedTuple):
    """What a folder's ``config.json`` says."""

    config: ClipConfig
    vocab_size: int
    end_id: int  # of no account where the last place is read


def config_from_hf(found: Config, preprocessor: Config) -> HFModel:
    """Our config of ``config.json`` and ``preprocessor_config.json``."""
    kind: Any = found.get("model_type")
    if kind not in get_args(Kind):
        raise UserError(f"a Hugging Face model of type {kind!r}: only {', '.join(get_args(Kind))} can be taken over")
    full = _with_defaults(kind, found)
    text, vision = full.text_config, full.vision_config
    size = _image_size(vision, kind)
    image = ViTConfig(
        patch=vision.patch_size,
        ragged=size % vision.patch_size > 0,
        pool="class" if kind == "clip" else "attention",
        pre_norm=kind == "clip",
        patch_bias=kind != "clip",
        projection="linear" if kind == "clip" else "none",
        transformer=_transformer(vision),
    )
    embed_dim = full.projection_dim if kind == "clip" else getattr(text, "projection_size", text.hidden_size)
    config = ClipConfig(
        image_size=size,
        embed_dim=embed_dim,
        image=image,
        text=TextTowerConfig(
            context_length=text.max_position_embeddings,
            causal=kind == "clip",
            pool="end" if kind == "clip" else "last",
            projection="linear" if kind == "clip" else "affine",
            transformer=_transformer(text),
        ),
        **siglip_start(None if kind == "clip" else -10.0),
        **preprocess_from_hf(preprocessor, kind, size, vision.patch_size),
    )
    return HFModel(config, text.vocab_size, _end_id(text))


def _with_defaults(kind: Kind, found: Config) -> Any:
    """With what their files leave out because it is the default."""
    from transformers import CLIPConfig, Siglip2Config, SiglipConfig

    return {"clip": CLIPConfig, "siglip": SiglipConfig, "siglip2": Siglip2Config}[kind](**found)


def _end_id(text: Any) -> int:
    """Where CLIP's config says 2 the highest id is meant: files that are older than a fix of transformers."""
    end = text.eos_token_id
    return end if isinstance(end, int) and end != 2 and end < text.vocab_size else text.vocab_size - 1


def _image_size(vision: Any, kind: Kind) -> int:
    """Of the square whose grid its positions have. Raises UserError for parts that we lack."""
    for name in ("patch_size", "num_patches" if kind == "siglip2" else "image_size"):
        if not isinstance(getattr(vision, name), int):
            raise UserError(f"vision_config.{name} {getattr(vision, name)}: only squares can be taken over")
    if vision.num_channels != 3:
        raise UserError(f"vision_config.num_channels {vision.num_channels}: only RGB pictures are read here")
    if not getattr(vision, "vision_use_head", True):
        raise UserError("vision_config.vision_use_head is false: an image tower without a pool is not known here")
    if kind != "siglip2":
        return vision.image_size
    if math.isqrt(vision.num_patches) ** 2 != vision.num_patches:
        raise UserError(f"vision_config.num_patches {vision.num_patches}: its positions are no square grid")
    return math.isqrt(vision.num_patches) * vision.patch_size


def _transformer(tower: Any) -> TransformerConfig:
    if tower.hidden_act not in ACTIVATIONS:
        raise UserError(f"hidden_act {tower.hidden_act!r} is not known here: {', '.join(ACTIVATIONS)}")
    return TransformerConfig(
        width=tower.hidden_size,
        num_layers=tower.num_hidden_layers,
        num_heads=tower.num_attention_heads,
        mlp_ratio=mlp_ratio(tower.intermediate_size, tower.hidden_size),
        activation=ACTIVATIONS[tower.hidden_act],
        norm_eps=tower.layer_norm_eps,
    )


def hf_rules(config: ClipConfig) -> list[Rule]:
    """Where each tensor of ours is in their layout. Raises UserError for a model that it has no place for."""
    kind = hf_kind(config)
    image, text = config.image, config.text
    assert isinstance(image, ViTConfig) and isinstance(text, TextTowerConfig)
    found = rules(TEXT) + rules(IMAGE) + rules(CLIP if kind == "clip" else SIGLIP)
    found += block_rules(HF_BLOCK, text.transformer.num_layers, TEXT_BLOCK, "text_model.encoder.layers.{}.")
    found += block_rules(HF_BLOCK, image.transformer.num_layers, IMAGE_BLOCK, "vision_model.encoder.layers.{}.")
    if kind == "clip":
        return [*found, Rule("logit_scale", ("logit_scale",), NUMBER)]
    numbers = [Rule(name, (name,), NUMBER_IN_LIST) for name in ("logit_scale", "logit_bias")]
    if kind == "siglip2":
        patches = How(lambda xs: _as_kernel(xs[0], image.patch), lambda x, _: [x.permute(0, 2, 3, 1).flatten(1)])
        found = [Rule(rule.ours, rule.theirs, patches) if rule.ours == KERNEL else rule for rule in found]
    return [*found, Rule("visual.pool.probe", ("vision_model.head.probe",), leading(2)), *numbers]


def _as_kernel(weight: Tensor, patch: int) -> Tensor:
    """Of a matrix that reads patches pixel by pixel, (D, patch · patch · 3), the convolution."""
    if weight.shape[1] != 3 * patch**2:
        raise UserError(
            f"patch embedding of shape {tuple(weight.shape)}: patches of {patch} pixels have {3 * patch**2}"
        )
    return weight.unflatten(1, (patch, patch, 3)).permute(0, 3, 1, 2)


def hf_kind(config: ClipConfig) -> Kind:
    """Which of the two classes can hold a model, or a UserError that says what stands in the way."""
    image, text = config.image, config.text
    if not isinstance(image, ViTConfig) or not isinstance(text, TextTowerConfig):
        raise UserError(
            "Hugging Face's CLIP and SigLIP have a ViT and a text Transformer: these towers do not fit them"
        )
    if text.token_shift or image.stem:
        part = "token_shift" if text.token_shift else "stem"
        raise UserError(f"Hugging Face's layout has no place for a {part}: --format onnx holds any model")
    if image.positions == "rotary":
        raise UserError("Hugging Face's layout has no rotary positions")
    as_clip = {"pool": "class", "pre_norm": True, "patch_bias": False, "projection": "linear"}
    as_siglip = {"pool": "attention", "pre_norm": False, "patch_bias": True, "projection": "none"}
    text_as_clip = {"causal": True, "pool": "end", "projection": "linear"}
    text_as_siglip = {"causal": False, "pool": "last", "projection": "affine"}
    kinds: tuple[tuple[Kind, Config, Config, bool], ...] = (
        ("clip", as_clip, text_as_clip, False),
        ("siglip", as_siglip, text_as_siglip, True),
    )
    native = config.preprocess.is_native
    for kind, wanted_image, wanted_text, bias in kinds:
        if not (_unlike(image, wanted_image) or _unlike(text, wanted_text) or (config.init_bias is not None) != bias):
            if native and kind == "clip":
                raise UserError("CLIPModel reads squares: it has no place for preprocess.resize native")
            return "siglip2" if native else kind
    wrong = [f"image.{x}" for x in _unlike(image, as_clip)] + [f"text.{x}" for x in _unlike(text, text_as_clip)]
    wrong += ["logit_bias"] if config.init_bias is not None else []
    raise UserError(
        f"neither CLIPModel nor SiglipModel is such a model; from CLIPModel it differs in {', '.join(wrong)}"
    )


def _unlike(config: Any, wanted: Config) -> list[str]:
    return [name for name, value in wanted.items() if getattr(config, name) != value]
