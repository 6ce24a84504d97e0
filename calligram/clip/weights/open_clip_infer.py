"""The model config of weights that come without one, by the shapes of their tensors."""

from typing import Any

from calligram.clip.weights.layout import State
from calligram.clip.weights.open_clip import HEAD_WIDTH, Config
from calligram.errors import UserError


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
