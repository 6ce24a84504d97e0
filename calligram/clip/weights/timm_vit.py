"""timm's Vision Transformer with an attention pool, SigLIP's image tower in open_clip ⇄ our ViT."""

import timm
import torch
from torch import nn

from calligram.clip.towers import ViTConfig
from calligram.clip.towers.projection import Projection
from calligram.clip.weights.blocks import TIMM_BLOCK, mlp_ratio
from calligram.clip.weights.layout import JOINED, Rule, block_rules, leading, rules
from calligram.nn.transformer import Activation, TransformerConfig


def plain_vit(name: str, image_size: int, projection: Projection) -> ViTConfig | None:
    """Our config of a timm model, if it is a ViT without anything that ours lacks; else None."""
    from timm.layers.attention_pool import AttentionPoolLatent
    from timm.models.vision_transformer import VisionTransformer

    if not timm.is_model(name):
        return None
    with torch.device("meta"):  # only its shape is looked at
        model = timm.create_model(name, num_classes=0, img_size=image_size, global_pool="map")
    if type(model) is not VisionTransformer or not isinstance(model.attn_pool, AttentionPoolLatent):
        return None
    patch = model.patch_embed.patch_size[0]
    config = ViTConfig(
        patch=patch,
        ragged=image_size % patch > 0,
        pool="attention",
        projection=projection,
        transformer=_transformer(model),
    )
    theirs = set(model.state_dict())
    return config if theirs == {name for rule in timm_vit_rules(config, "") for name in rule.theirs} else None


def _transformer(model: nn.Module) -> TransformerConfig:
    block = model.get_submodule("blocks.0")
    width = block.get_parameter("norm1.weight").shape[0]
    norm, activation = block.get_submodule("norm1"), block.get_submodule("mlp.act")
    return TransformerConfig(
        width=width,
        num_layers=len(model.get_submodule("blocks")._modules),
        num_heads=block.get_submodule("attn").num_heads,  # pyright: ignore[reportArgumentType]
        mlp_ratio=mlp_ratio(block.get_parameter("mlp.fc1.weight").shape[0], width),
        activation=_activation(activation),
        norm_eps=norm.eps,  # pyright: ignore[reportArgumentType]
    )


def _activation(layer: nn.Module) -> Activation:
    if type(layer).__name__ == "QuickGELU":
        return "quick_gelu"
    tanh = type(layer).__name__ == "GELUTanh" or getattr(layer, "approximate", "none") == "tanh"
    return "gelu_tanh" if tanh else "gelu"


def timm_vit_rules(image: ViTConfig, theirs: str) -> list[Rule]:
    found = rules(
        {"embed.*": "patch_embed.proj.*", "transformer.norm.*": "norm.*"},
        "visual.",
        theirs,
    )
    found += block_rules(
        TIMM_BLOCK, image.transformer.num_layers, "visual.transformer.blocks.{}.", f"{theirs}blocks.{{}}."
    )
    found += rules(
        {"out.*": "proj.*", "norm.*": "norm.*", "mlp_in.*": "mlp.fc1.*", "mlp_out.*": "mlp.fc2.*"},
        "visual.pool.",
        f"{theirs}attn_pool.",
    )
    pool = f"{theirs}attn_pool."
    joined = [Rule(f"visual.pool.qkv.{x}", (f"{pool}q.{x}", f"{pool}kv.{x}"), JOINED) for x in ("weight", "bias")]
    return [
        *found,
        *joined,
        Rule("visual.pool.probe", (f"{pool}latent",), leading(2)),
        Rule("visual.positions", (f"{theirs}pos_embed",), leading(1)),
    ]
