"""open_clip's model configs → ours."""

from dataclasses import asdict
from typing import Any, Literal

from calligram.clip.model import ClipConfig
from calligram.clip.preprocess import PreprocessConfig
from calligram.clip.towers import (
    HFTextConfig,
    ImageTowerConfig,
    ResNetConfig,
    TextTowerConfig,
    TimmConfig,
    ViTConfig,
)
from calligram.clip.towers.projection import Projection
from calligram.clip.weights.timm_vit import plain_vit
from calligram.errors import UserError
from calligram.nn.transformer import Activation, TransformerConfig

Config = dict[str, Any]

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
HEAD_WIDTH = 64
VISION_KNOWN = {
    *("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "patch_dropout", "no_ln_pre"),
    *("pos_embed_type", "final_ln_after_pool", "act_kwargs", "norm_kwargs"),
    *("timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias"),
    *("timm_drop", "timm_drop_path", "pool_type", "attentional_pool", "attn_pooler_queries", "attn_pooler_heads"),
    "output_tokens",
}
TEXT_KNOWN = {
    *("context_length", "vocab_size", "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "width", "heads"),
    *("layers", "mlp_ratio", "no_causal_mask", "final_ln_after_pool", "pool_type", "proj_bias", "proj_type"),
    *("act_kwargs", "norm_kwargs", "pad_id", "eos_id", "embed_cls", "output_tokens"),
    *("hf_model_name", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type"),
}


def config_from_open_clip(model: Config, preprocess: Config) -> ClipConfig:
    """Our config of an open_clip model config and its preprocessing. Raises UserError for what we have no part for."""
    vision, text = model["vision_cfg"], model["text_cfg"]
    _refuse_unknown("vision_cfg", vision, VISION_KNOWN)
    _refuse_unknown("text_cfg", text, TEXT_KNOWN)
    size = vision.get("image_size", 224)
    if not isinstance(size, int):
        if len(set(size)) > 1:
            raise UserError(f"image_size {tuple(size)}: only models of square pictures can be taken over")
        size = size[0]
    quick = bool(model.get("quick_gelu"))
    return ClipConfig(
        image_size=size,
        embed_dim=model["embed_dim"],
        image=_image_config(vision, quick, size, model["embed_dim"]),
        text=_hf_text_config(text) if text.get("hf_model_name") else _text_config(text, quick),
        **siglip_start(model.get("init_logit_bias")),
        **preprocess_from_open_clip(preprocess),
    )


def siglip_start(bias: float | None) -> dict[str, Any]:
    """Where temperature and bias begin in SigLIP (arXiv 2303.15343), for a model that has a bias."""
    return {} if bias is None else {"init_scale": 10.0, "init_bias": bias}


def preprocess_from_open_clip(found: Config) -> dict[str, Any]:
    """Its preprocessing as fields of a :class:`ClipConfig`."""
    modes: dict[str, Literal["crop", "squash"]] = {"shortest": "crop", "squash": "squash"}
    mode, filter = found.get("resize_mode") or "shortest", found.get("interpolation") or "bicubic"
    if mode not in modes:
        raise UserError(f"resize_mode {mode!r} is not known here: {' or '.join(modes)}")
    filter = "bicubic" if filter == "random" else filter  # as open_clip itself takes it outside of training
    return {
        "mean": found.get("mean") or OPENAI_MEAN,
        "std": found.get("std") or OPENAI_STD,
        "preprocess": PreprocessConfig(resize=modes[mode], filter=filter, like="open_clip"),
    }


def _image_config(vision: Config, quick: bool, size: int, embed_dim: int) -> ImageTowerConfig:
    if vision.get("timm_model_name"):
        return _timm_config(vision, size)
    layers, width = vision.get("layers", 12), vision.get("width", 768)
    head_width = vision.get("head_width", HEAD_WIDTH)
    if not isinstance(layers, int):
        return ResNetConfig(blocks=tuple(layers), channels=width, num_heads=width * 32 // head_width)
    patch = vision.get("patch_size", 16)
    return ViTConfig(
        patch=patch,
        ragged=size % patch > 0,
        **_pool(vision, embed_dim),
        pre_norm=not vision.get("no_ln_pre", False),
        patch_bias=False,
        patch_dropout=vision.get("patch_dropout", 0.0),
        transformer=TransformerConfig(
            width=width,
            num_layers=layers,
            num_heads=width // head_width,
            mlp_ratio=vision.get("mlp_ratio", 4.0),
            activation=_activation(vision, quick),
            norm_eps=(vision.get("norm_kwargs") or {}).get("eps", 1e-5),
        ),
    )


def _pool(vision: Config, embed_dim: int) -> Config:
    """The fields of a :class:`ViTConfig` about its pool."""
    kind, attentional = vision.get("pool_type", "tok"), vision.get("attentional_pool", False)
    if isinstance(attentional, str) or (attentional and kind != "tok"):
        raise UserError(f"vision_cfg.attentional_pool {attentional!r} with pool_type {kind!r} is not known here")
    if attentional:
        return {"pool": "query", "pool_width": embed_dim, "pool_heads": vision.get("attn_pooler_heads", 8)}
    if kind not in ("tok", "avg"):
        raise UserError(f"vision_cfg.pool_type {kind!r} is not known here, only 'tok' and 'avg'")
    if kind == "avg":
        return {"pool": "patches", "norm_after_pool": vision.get("final_ln_after_pool", False)}
    return {"pool": "class"}


def _timm_config(vision: Config, size: int) -> ImageTowerConfig:
    name, pool, kind = vision["timm_model_name"], vision.get("timm_pool", "avg"), vision.get("timm_proj", "linear")
    projections: dict[str, Projection] = {
        "linear": "affine" if vision.get("timm_proj_bias") else "linear",
        "none": "none",
    }
    if kind not in projections or pool not in ("avg", "map", "token", ""):
        raise UserError(f"timm_pool {pool!r} with timm_proj {kind!r} is not known here")
    ours = plain_vit(name, size, projections[kind]) if pool == "map" else None
    return ours or TimmConfig(name=name, projection=projections[kind])


def _text_config(text: Config, quick: bool) -> TextTowerConfig:
    pools: dict[str, Literal["end", "last"]] = {"argmax": "end", "eos": "end", "last": "last"}
    pool, kind = text.get("pool_type", "argmax"), text.get("proj_type", "linear")
    if pool not in pools or kind not in ("linear", "none"):
        raise UserError(f"pool_type {pool!r} with proj_type {kind!r} of its text tower is not known here")
    width = text.get("width", 512)
    return TextTowerConfig(
        context_length=text.get("context_length", 77),
        causal=not text.get("no_causal_mask", False),
        pool="class" if text.get("embed_cls") else pools[pool],  # whatever else stands there
        pad_id=text.get("pad_id", 0) if text.get("embed_cls") else 0,
        projection="none" if kind == "none" else "affine" if text.get("proj_bias") else "linear",
        transformer=TransformerConfig(
            width=width,
            num_layers=text.get("layers", 12),
            num_heads=text.get("heads", 8),
            mlp_ratio=text.get("mlp_ratio", 4.0),
            activation=_activation(text, quick),
            norm_eps=(text.get("norm_kwargs") or {}).get("eps", 1e-5),
        ),
    )


def _hf_text_config(text: Config) -> HFTextConfig:
    """Its model's own config is fetched by its name, as open_clip does."""
    pools: dict[str, Literal["mean", "first", "pooler"]] = {
        "mean_pooler": "mean",
        "cls_pooler": "pooler",
        "cls_last_hidden_state_pooler": "first",
    }
    projections: dict[str | None, Projection] = {"mlp": "mlp", "linear": "linear", None: "none"}
    pool, kind = text.get("hf_pooler_type", "mean_pooler"), text.get("hf_proj_type", "mlp")
    if pool not in pools or kind not in projections:
        raise UserError(f"hf_pooler_type {pool!r} with hf_proj_type {kind!r} is not known here")
    return HFTextConfig(
        name=text["hf_model_name"],
        context_length=text.get("context_length", 77),
        pool=pools[pool],
        projection=projections[kind],
    )


def _activation(tower: Config, quick: bool) -> Activation:
    if quick:
        return "quick_gelu"
    return "gelu_tanh" if (tower.get("act_kwargs") or {}).get("approximate") == "tanh" else "gelu"


def _refuse_unknown(part: str, found: Config, known: set[str]) -> None:
    """What a config sets to another value than open_clip's own default, and we have nothing for."""
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    defaults = asdict(CLIPVisionCfg() if part == "vision_cfg" else CLIPTextCfg())
    for name, value in found.items():
        if name not in known and value != defaults.get(name):
            raise UserError(f"{part}.{name} {value!r}: calligram has no part for this")
