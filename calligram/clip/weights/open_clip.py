"""open_clip's layout, which is also OpenAI's: its model configs and names ⇄ ours."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from calligram.clip.model import ClipConfig
from calligram.clip.preprocess import PreprocessConfig
from calligram.clip.towers import (
    ImageTowerConfig,
    ResNet,
    ResNetConfig,
    TextTowerConfig,
    TimmConfig,
    TimmTower,
    ViTConfig,
)
from calligram.clip.towers.projection import Projection
from calligram.clip.weights.blocks import OPEN_CLIP_BLOCK
from calligram.clip.weights.layout import NUMBER, SAME, TRANSPOSED, How, Rule, State, block_rules, rules
from calligram.clip.weights.timm_vit import plain_vit, timm_vit_rules
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
    *("timm_drop", "timm_drop_path", "pool_type"),
}
TEXT_KNOWN = {
    *("context_length", "vocab_size", "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "width", "heads"),
    *("layers", "mlp_ratio", "no_causal_mask", "final_ln_after_pool", "pool_type", "proj_bias", "proj_type"),
    *("act_kwargs", "norm_kwargs", "pad_id", "eos_id", "hf_model_pretrained"),
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
        image=_image_config(vision, quick, size),
        text=_text_config(text, quick),
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


def _image_config(vision: Config, quick: bool, size: int) -> ImageTowerConfig:
    if vision.get("timm_model_name"):
        return _timm_config(vision, size)
    layers, width = vision.get("layers", 12), vision.get("width", 768)
    head_width = vision.get("head_width", HEAD_WIDTH)
    if not isinstance(layers, int):
        return ResNetConfig(blocks=tuple(layers), channels=width, num_heads=width * 32 // head_width)
    if vision.get("pool_type", "tok") != "tok":
        raise UserError(f"vision_cfg.pool_type {vision['pool_type']!r} is not known here, only 'tok'")
    patch = vision.get("patch_size", 16)
    return ViTConfig(
        patch=patch,
        ragged=size % patch > 0,
        pool="class",
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
    if text.get("hf_model_name"):
        raise UserError(
            f"its text tower is {text['hf_model_name']} of Hugging Face: such weights are not taken over yet"
        )
    if pool not in pools or kind not in ("linear", "none"):
        raise UserError(f"pool_type {pool!r} with proj_type {kind!r} of its text tower is not known here")
    width = text.get("width", 512)
    return TextTowerConfig(
        context_length=text.get("context_length", 77),
        causal=not text.get("no_causal_mask", False),
        pool=pools[pool],
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


def infer_model_config(state: State, activation: str) -> Config:
    """The model config of weights in OpenAI's layout, by their shapes; heads are 64 wide, as in all that it made."""
    try:
        width, text_width = len(state["visual.layer1.0.conv1.weight"]), len(state["ln_final.weight"])
        counts = [_count(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)]
        grid = round((len(state["visual.attnpool.positional_embedding"]) - 1) ** 0.5)
        vision: Config = {"layers": counts, "width": width, "image_size": grid * 32}
    except KeyError:
        vision = _infer_vit(state)
        text_width = len(_named(state, "ln_final.weight"))
    return {
        "embed_dim": _named(state, "text_projection").shape[1],
        "quick_gelu": activation == "quick_gelu",
        "vision_cfg": vision,
        "text_cfg": {
            "context_length": len(_named(state, "positional_embedding")),
            "vocab_size": len(_named(state, "token_embedding.weight")),
            "width": text_width,
            "heads": max(1, text_width // HEAD_WIDTH),
            "layers": _count(state, "transformer.resblocks."),
        },
    }


def _infer_vit(state: State) -> Config:
    width, _, patch, _ = _named(state, "visual.conv1.weight").shape
    grid = round((len(_named(state, "visual.positional_embedding")) - 1) ** 0.5)
    layers = _count(state, "visual.transformer.resblocks.")
    return {"layers": layers, "width": width, "patch_size": patch, "image_size": grid * patch}


def _named(state: State, name: str) -> Any:
    if name not in state:
        raise UserError(f"these weights are not in OpenAI's layout: {name} is missing; name their model")
    return state[name]


def _count(state: State, prefix: str) -> int:
    return len({name[len(prefix) :].partition(".")[0] for name in state if name.startswith(prefix)})


def plain_names(state: State) -> State:
    """Text names without the ``text.`` that some of its models put before them."""
    return {name.removeprefix("text."): x for name, x in state.items()}


def open_clip_rules(config: ClipConfig) -> list[Rule]:
    """Where each tensor of ours is in its layout."""
    text = config.text
    if not isinstance(text, TextTowerConfig) or text.token_shift:
        what = "a token_shift" if isinstance(text, TextTowerConfig) else f"the text tower {text.name}"
        raise UserError(f"open_clip's layout has no place for {what}")
    found = rules({"text.embed.weight": "token_embedding.weight", "text.positions": "positional_embedding"})
    found += block_rules(OPEN_CLIP_BLOCK, text.transformer.num_layers, TEXT_BLOCK, "transformer.resblocks.{}.")
    found += rules({"text.transformer.norm.*": "ln_final.*"})
    if text.projection == "linear":
        found.append(Rule("text_projection.weight", ("text_projection",), TRANSPOSED))
    if text.projection == "affine":
        found += rules({"text_projection.*": "text_projection.*"})
    numbers = ["logit_scale", *(["logit_bias"] if config.init_bias is not None else [])]
    return [*found, *_image_rules(config), *(Rule(name, (name,), NUMBER) for name in numbers)]


TEXT_BLOCK = "text.transformer.blocks.{}."
IMAGE_BLOCK = "visual.transformer.blocks.{}."


def _image_rules(config: ClipConfig) -> list[Rule]:
    image = config.image
    if isinstance(image, ResNetConfig):
        return _resnet_rules(image)
    if isinstance(image, TimmConfig):
        return _timm_rules(config, image)
    if image.pool == "attention":
        return timm_vit_rules(image, "visual.trunk.")
    if image.stem or image.pool != "class" or image.patch_bias or image.projection != "linear":
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
            "visual.transformer.norm.*": "visual.ln_post.*",
            **({"visual.norm_pre.*": "visual.ln_pre.*"} if image.pre_norm else {}),
        }
    )
    theirs = "visual.transformer.resblocks.{}."
    found += block_rules(OPEN_CLIP_BLOCK, image.transformer.num_layers, IMAGE_BLOCK, theirs)
    return [*found, Rule("visual_projection.weight", ("visual.proj",), TRANSPOSED)]


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
