"""Writes a CLIP for open_clip, Hugging Face or ONNX, or a DALL-E's decoder for Hugging Face."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, Field

from calligram import runs
from calligram.cli.flags import parse
from calligram.errors import UserError


class Flags(BaseModel):
    """Writes a model as others read it, a CLIP with its text tokenizer and how it prepares pictures.

    open_clip: a folder for create_model("local-dir:OUT"). hf: a folder for CLIPModel or SiglipModel. onnx: a folder
    with image.onnx and text.onnx, any number of pictures or texts at once.

    A DALL-E whose Transformer is of type llama becomes a folder for LlamaForCausalLM, or with qk_norm for
    Qwen3ForCausalLM, with one vocabulary of words and image tokens; docs/DALLE.md tells which is where.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = Field(description="folder of a run")
    format: Literal["open_clip", "hf", "onnx"] = Field(description="who is going to read it")
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Field(description="folder to write")


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram export")
    kind = type_of(Path(flags.run))
    if kind == "tokenizer":
        raise UserError(f"{flags.run} is a tokenizer run, but a clip or dalle run is needed here")
    if kind == "dalle":
        export_dalle(flags)
    else:
        export_clip(flags)
    print(flags.out)


def type_of(run: Path) -> str | None:
    """Of a run; None for a model of others, which may be a folder with such a file, too."""
    if not (run / runs.CONFIG).is_file():
        return None
    try:
        return runs.read_config(run)["type"]
    except UserError:
        return None


def export_dalle(flags: Flags) -> None:
    if flags.format != "hf":
        raise UserError(f"--format {flags.format} is for a CLIP, and {flags.run} is a DALL-E: give --format hf")
    from calligram.dalle.draw import load_dalle
    from calligram.dalle.hf import export_hf

    dalle = load_dalle(flags.run)
    export_hf(dalle.model, dalle.text_tokenizer, flags.out)


def export_clip(flags: Flags) -> None:
    from calligram.clip.load import load_model
    from calligram.clip.weights.export import export_hf, export_open_clip
    from calligram.clip.weights.onnx import export_onnx

    formats = {"open_clip": export_open_clip, "hf": export_hf, "onnx": export_onnx}
    model, tokenizer = load_model(flags.run)
    formats[flags.format](model.eval(), tokenizer, flags.out)
