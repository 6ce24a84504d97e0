"""Writes a CLIP for open_clip, Hugging Face or ONNX."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, Field

from calligram.cli.flags import parse


class Flags(BaseModel):
    """Writes a CLIP as others read it, with its text tokenizer and how it prepares pictures.

    open_clip: a folder for create_model("local-dir:OUT"). hf: a folder for CLIPModel or SiglipModel. onnx: a folder
    with image.onnx and text.onnx, any number of pictures or texts at once.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = Field(description="folder of a CLIP run")
    format: Literal["open_clip", "hf", "onnx"] = Field(description="who is going to read it")
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Field(description="folder to write")


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram export")
    from calligram.clip.load import load_model
    from calligram.clip.weights.export import export_hf, export_open_clip
    from calligram.clip.weights.onnx import export_onnx

    formats = {"open_clip": export_open_clip, "hf": export_hf, "onnx": export_onnx}
    model, tokenizer = load_model(flags.run)
    formats[flags.format](model.eval(), tokenizer, flags.out)
    print(flags.out)
