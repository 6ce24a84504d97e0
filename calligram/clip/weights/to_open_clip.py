"""Our model configs in open_clip's words, with which ``open_clip.create_model`` builds the same model."""

from typing import Any

from calligram.clip.model import ClipConfig
from calligram.clip.towers import ResNetConfig, TextTowerConfig, TimmConfig, ViTConfig
from calligram.clip.weights.open_clip import Config
from calligram.clip.weights.open_clip_names import open_clip_rules
from calligram.clip.weights.timm_vit import plain_vit
from calligram.errors import UserError
from calligram.nn.transformer import TransformerConfig


def config_to_open_clip(config: ClipConfig, vocab_size: int, end_id: int) -> Config:
    """``model_cfg`` of ``open_clip_config.json``. Raises UserError where open_clip has no such model."""
    open_clip_rules(config)  # tells what has no place
    if not isinstance(config.text, TextTowerConfig):
        raise UserError(
            f"open_clip fetches {config.text.name} by its name: its layout has no place for that text tower"
        )
    activations = {config.text.transformer.activation}
    if isinstance(config.image, ViTConfig) and config.image.pool != "attention":
        activations.add(config.image.transformer.activation)
    if "quick_gelu" in activations and len(activations) > 1:
        raise UserError("open_clip has QuickGELU in both towers or in none: its layout cannot hold this model")
    found: Config = {
        "embed_dim": config.embed_dim,
        "vision_cfg": _vision(config),
        "text_cfg": _text(config.text, vocab_size, end_id),
    }
    if "quick_gelu" in activations:
        found["quick_gelu"] = True
    if "timm_model_name" in found["vision_cfg"] or config.text.pool == "class":
        found["custom_text"] = True
    if config.init_bias is not None:
        found["init_logit_bias"] = config.init_bias
    return found


def preprocess_to_open_clip(config: ClipConfig) -> Config:
    """``preprocess_cfg`` of ``open_clip_config.json``."""
    modes = {"crop": "shortest", "squash": "squash"}
    if config.preprocess.is_native:
        raise UserError("open_clip reads squares: its layout has no place for preprocess.resize native")
    return {
        "size": config.image_size,
        "mean": list(config.mean),
        "std": list(config.std),
        "interpolation": config.preprocess.filter,
        "resize_mode": modes[config.preprocess.resize],
    }


def _vision(config: ClipConfig) -> Config:
    image, size = config.image, config.image_size
    if isinstance(image, ResNetConfig):
        head_width = image.width // image.num_heads
        layers = list(image.blocks)
        return {"image_size": size, "layers": layers, "width": image.channels, "head_width": head_width}
    if isinstance(image, TimmConfig):
        if image.projection == "none":
            raise UserError("open_clip builds a timm model without a projection in another way: give it one")
        bias = image.projection == "affine"
        return {"image_size": size, "timm_model_name": image.name, "timm_pool": "", "timm_proj_bias": bias}
    if image.pool == "attention":
        return {"image_size": size, **_siglip_name(image, size)}
    found: Config = {
        "image_size": size,
        "patch_size": image.patch,
        "head_width": image.transformer.head_width,
        **_transformer(image.transformer),
    }
    found |= {"pool_type": "avg", "final_ln_after_pool": image.norm_after_pool} if image.pool == "patches" else {}
    if image.pool == "query":
        found |= {"attentional_pool": True, "attn_pooler_queries": 1, "attn_pooler_heads": image.pool_heads}
    return found if image.pre_norm else {**found, "no_ln_pre": True}


def _siglip_name(image: ViTConfig, size: int) -> Config:
    """open_clip has SigLIP's image towers as models of timm, which have names instead of sizes."""
    import timm

    for name in timm.list_models("*siglip*"):
        if plain_vit(name, size, image.projection) == image:
            bias = image.projection == "affine"
            kind = "none" if image.projection == "none" else "linear"
            return {"timm_model_name": name, "timm_pool": "map", "timm_proj": kind, "timm_proj_bias": bias}
    raise UserError("open_clip takes an image tower with an attention pool from timm, which has none of this size")


def _text(text: TextTowerConfig, vocab_size: int, end_id: int) -> Config:
    found: Config = {
        "context_length": text.context_length,
        "vocab_size": vocab_size,
        "heads": text.transformer.num_heads,
        **_transformer(text.transformer),
    }
    if text.pool == "class":
        found |= {"embed_cls": True, "pad_id": text.pad_id}
    elif text.pool == "last":
        found["pool_type"] = "last"
    elif end_id != vocab_size - 1:  # it looks for the highest id unless told which
        found |= {"pool_type": "eos", "eos_id": end_id}
    if not text.causal:
        found["no_causal_mask"] = True
    if text.projection == "affine":
        found["proj_bias"] = True
    return {**found, "proj_type": "none"} if text.projection == "none" else found


def _transformer(config: TransformerConfig) -> Config:
    found: dict[str, Any] = {"width": config.width, "layers": config.num_layers}
    if config.mlp_ratio != 4:
        found["mlp_ratio"] = config.mlp_ratio
    if config.norm_eps != 1e-5:
        found["norm_kwargs"] = {"eps": config.norm_eps}
    return {**found, "act_kwargs": {"approximate": "tanh"}} if config.activation == "gelu_tanh" else found
