"""How Hugging Face's processors prepare pictures, as ``preprocessor_config.json`` says it ⇄ as ours does."""

from pathlib import Path
from typing import Any, Literal

from calligram.clip.model import ClipConfig
from calligram.clip.preprocess import PreprocessConfig
from calligram.clip.weights.files import read_json
from calligram.clip.weights.open_clip import OPENAI_MEAN, OPENAI_STD
from calligram.errors import UserError

Kind = Literal["clip", "siglip", "siglip2"]  # the last reads pictures of any aspect ratio (NaFlex)
Config = dict[str, Any]

FAMILIES: dict[Kind, str] = {"clip": "CLIP", "siglip": "Siglip", "siglip2": "Siglip2"}  # as their classes begin
NAFLEX_PATCHES = 256  # of a picture at most, unless its preprocessing says so


def read_preprocessor(folder: Path) -> Config:
    """What a folder says of it, also within the file that transformers 5 writes for words and pictures together."""
    alone, together = folder / "preprocessor_config.json", folder / "processor_config.json"
    if alone.is_file():
        return read_json(alone)
    return read_json(together).get("image_processor", {}) if together.is_file() else {}


def preprocess_from_hf(found: Config, kind: Kind, size: int, patch: int) -> dict[str, Any]:
    """``preprocessor_config.json`` as fields of a :class:`ClipConfig`; an empty one is the family's default."""
    resize = _native(found, patch) if kind == "siglip2" else _squares(found, kind, size)
    filters = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
    resample = found.get("resample", 2 if kind == "siglip2" else 3)
    if resample not in filters:
        raise UserError(f"resample {resample} of its preprocessing is not known here: 2 (bilinear) or 3 (bicubic)")
    return {
        "mean": found.get("image_mean") or (OPENAI_MEAN if kind == "clip" else (0.5, 0.5, 0.5)),
        "std": found.get("image_std") or (OPENAI_STD if kind == "clip" else (0.5, 0.5, 0.5)),
        "preprocess": PreprocessConfig.model_validate({**resize, "filter": filters[resample], "like": "transformers"}),
    }


def _squares(found: Config, kind: Kind, size: int) -> Config:
    wanted = found.get("size", size)
    wanted = wanted.get("shortest_edge") or wanted.get("height") if isinstance(wanted, dict) else wanted
    if wanted != size:
        raise UserError(f"its preprocessing makes pictures of {wanted} pixels, but the model reads {size}")
    return {"resize": "crop" if found.get("do_center_crop", kind == "clip") else "squash"}


def _native(found: Config, patch: int) -> Config:
    cut = found.get("patch_size", patch)
    if cut != patch:
        raise UserError(f"its preprocessing cuts patches of {cut} pixels, but the model reads {patch}")
    return {"resize": "native", "max_patches": found.get("max_num_patches", NAFLEX_PATCHES)}


def preprocess_to_hf(config: ClipConfig, kind: Kind) -> Config:
    """``preprocessor_config.json`` of a model of that kind."""
    size, crops = config.image_size, config.preprocess.resize == "crop"
    found: Config = {
        "image_processor_type": f"{'CLIP' if crops else FAMILIES[kind]}ImageProcessor",
        "processor_class": f"{FAMILIES[kind]}Processor",
        "do_resize": True,
        "resample": {"bilinear": 2, "bicubic": 3}[config.preprocess.filter],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config.mean),
        "image_std": list(config.std),
        "do_convert_rgb": True,
    }
    if kind == "siglip2":
        return {**found, "patch_size": config.patch, "max_num_patches": config.max_patches}
    found |= {"size": {"shortest_edge": size} if crops else {"height": size, "width": size}, "do_center_crop": crops}
    return {**found, "crop_size": {"height": size, "width": size}} if crops else found
