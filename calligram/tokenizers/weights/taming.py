"""VQGANs of taming-transformers: a state dict, and a config in YAML or JSON that says how large the model is."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from calligram.errors import UserError
from calligram.tokenizers.vqgan import VQGANConfig, VQGANTokenizer

State = dict[str, Tensor]
OF_TRAINING = ("loss.", "model_ema.", "colorize")  # discriminator, LPIPS, averages: nothing that using it takes
GUMBEL = "quantize.embed.weight"


def is_taming(state: State) -> bool:
    return "encoder.down.0.block.0.norm1.weight" in state


def from_taming(state: State, config: dict[str, Any], image_size: int | None) -> VQGANTokenizer:
    """Raises UserError for what is no VQGAN with a codebook, or another one than its config says."""
    target = str(_inside(config).get("target", ""))
    if GUMBEL in state or "gumbel" in target.lower():
        raise UserError("a VQGAN of the kind GumbelVQ is not taken over, only those with a codebook (VQModel)")
    model = VQGANTokenizer(_config(_params(config), image_size))
    try:
        model.load_state_dict({name: x.float() for name, x in state.items() if not name.startswith(OF_TRAINING)})
    except RuntimeError as error:
        raise UserError(f"the weights are not of the VQGAN of the config: {' '.join(str(error).split())}") from None
    return model


def read_config(path: Path) -> dict[str, Any]:
    """YAML or JSON, of plain values only. Raises UserError."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is neither YAML nor JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is not a config: it holds no object")
    return found


def _inside(config: dict[str, Any]) -> dict[str, Any]:
    """What stands under ``model`` in a whole config."""
    return config["model"] if isinstance(config.get("model"), dict) else config


def _params(config: dict[str, Any]) -> dict[str, Any]:
    inside = _inside(config)
    params = inside["params"] if isinstance(inside.get("params"), dict) else inside
    if not isinstance(params.get("ddconfig"), dict):
        raise UserError("the config has no model.params.ddconfig: give the one that lies beside the weights (--config)")
    return params


def _config(params: dict[str, Any], image_size: int | None) -> VQGANConfig:
    sizes = params["ddconfig"]
    for name, wanted in (("in_channels", 3), ("out_ch", 3), ("double_z", False)):
        if sizes.get(name, wanted) != wanted:
            raise UserError(f"the config's {name} is {sizes[name]}, and only VQGANs with {wanted} are taken over")
    resolution = sizes["resolution"]
    shrunk = [resolution // 2**i for i in range(len(sizes["ch_mult"]))]
    size = image_size or resolution
    try:
        return VQGANConfig(
            image_size=size,
            vocab_size=params["n_embed"],
            code_dim=params["embed_dim"],
            latent=sizes["z_channels"],
            width=sizes["ch"],
            multipliers=tuple(sizes["ch_mult"]),
            num_blocks=sizes["num_res_blocks"],
            # which stages have attention does not change with the size of the pictures
            attention_at=tuple(size // 2**i for i, side in enumerate(shrunk) if side in sizes["attn_resolutions"]),
        )
    except KeyError as error:
        raise UserError(f"the config does not say {error}") from None
    except ValidationError as error:
        raise UserError(f"the config: {error.errors()[0]['msg']}") from None
