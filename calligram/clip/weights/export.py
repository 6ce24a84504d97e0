"""A CLIP of ours as others read it: a folder for open_clip, or one for Hugging Face's transformers."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from calligram.clip.model import Clip, ClipConfig
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.clip.weights.hf import ACTIVATIONS, hf_kind, hf_rules
from calligram.clip.weights.hf_preprocess import FAMILIES, preprocess_to_hf
from calligram.clip.weights.layout import to_theirs
from calligram.clip.weights.open_clip_names import open_clip_rules
from calligram.clip.weights.source import HF_WEIGHTS, OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS
from calligram.clip.weights.to_open_clip import config_to_open_clip, preprocess_to_open_clip
from calligram.errors import UserError
from calligram.nn.transformer import TransformerConfig
from calligram.tokenizers.export import is_clip, is_stripped, save_for_transformers
from calligram.tokenizers.hf import HFTextTokenizer
from calligram.tokenizers.text import TextTokenizer

Config = dict[str, Any]


def export_open_clip(model: Clip, tokenizer: TextTokenizer, out: Path) -> None:
    """A folder that open_clip takes as ``local-dir:OUT``.

    ``OUT/NAME.json`` in it, of the folder's own name, is for ``open_clip.add_model_config``, after which
    ``create_model(NAME, pretrained="OUT/open_clip_model.safetensors")`` builds the model, too.
    """
    preprocess = preprocess_to_open_clip(model.config)
    state = to_theirs(model.state_dict(), open_clip_rules(model.config))
    config = config_to_open_clip(model.config, tokenizer.vocab_size, tokenizer.end_id)
    make_folder(out)
    if config.get("custom_text"):
        state = {name if name.startswith(("visual.", "logit_")) else f"text.{name}": x for name, x in state.items()}
    if not is_clip(tokenizer):
        cleaning = tokenizer.cleaning if isinstance(tokenizer, HFTextTokenizer) else "lower"
        options = {"clean": cleaning, **({"strip_sep_token": True} if is_stripped(tokenizer) else {})}
        config["text_cfg"] |= {"hf_tokenizer_name": out.name, "tokenizer_kwargs": options}
        save_for_transformers(tokenizer, out)
    _write(out / f"{out.name}.json", config)
    _write(out / OPEN_CLIP_CONFIG, {"model_cfg": config, "preprocess_cfg": preprocess})
    _save(state, out / OPEN_CLIP_WEIGHTS[0])


def export_hf(model: Clip, tokenizer: TextTokenizer, out: Path) -> None:
    """A folder for ``from_pretrained`` of CLIPModel, SiglipModel or Siglip2Model, and the processor beside it."""
    state = to_theirs(model.state_dict(), hf_rules(model.config))
    config = _hf_config(model.config, tokenizer)
    make_folder(out)
    save_for_transformers(tokenizer, out, reads_padding=hf_kind(model.config) == "siglip")
    _write(out / "config.json", config)
    _write(out / "preprocessor_config.json", preprocess_to_hf(model.config, hf_kind(model.config)))
    _save(state, out / HF_WEIGHTS[0])


def _hf_config(config: ClipConfig, tokenizer: TextTokenizer) -> Config:
    kind, image, text = hf_kind(config), config.image, config.text
    assert isinstance(image, ViTConfig) and isinstance(text, TextTowerConfig)
    if kind == "clip" and tokenizer.end_id == 2:
        ids = "the end of a text has the id 2, which CLIPModel takes for an old mistake and looks for the highest id"
        if tokenizer.vocab_size > 3:
            raise UserError(f"{ids}: its layout cannot hold this model's vocabulary")
    found: Config = {
        "model_type": kind,
        "architectures": [f"{FAMILIES[kind]}Model"],
        "dtype": "float32",
        "text_config": {
            **_hf_tower(text.transformer),
            "vocab_size": tokenizer.vocab_size,
            "max_position_embeddings": text.context_length,
            "bos_token_id": tokenizer.start_id,
            "eos_token_id": tokenizer.end_id,
            "pad_token_id": tokenizer.pad_id,
        },
        "vision_config": {
            **_hf_tower(image.transformer),
            **({"num_patches": config.num_patches} if kind == "siglip2" else {"image_size": config.image_size}),
            "patch_size": image.patch,
        },
    }
    if kind == "clip":
        return {**found, "projection_dim": config.embed_dim}
    found["text_config"]["projection_size"] = config.embed_dim
    return found


def _hf_tower(config: TransformerConfig) -> Config:
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}  # of several the first
    return {
        "hidden_size": config.width,
        "intermediate_size": int(config.width * config.mlp_ratio),
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "hidden_act": names[config.activation],
        "layer_norm_eps": config.norm_eps,
    }


def make_folder(out: Path) -> None:
    """After all that can be refused: nothing is left behind by a model that does not fit."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not empty: choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {out}: {error.strerror}") from None


def _write(path: Path, config: Config) -> None:
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _save(state: dict[str, Tensor], path: Path) -> None:
    # transformers wants to know which library's tensors these are
    save_file({name: x.cpu() for name, x in state.items()}, path, metadata={"format": "pt"})
