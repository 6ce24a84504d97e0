"""Turns a CLIP of open_clip, OpenAI or Hugging Face, a dVAE or a VQGAN into a run."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, Field

from calligram.cli.console import say
from calligram.cli.flags import parse
from calligram.errors import UserError


class Flags(BaseModel):
    """Reads a CLIP or an image tokenizer of others and writes a run's folder, which every verb takes, as does --init.

    SOURCE is open_clip:NAME/TAG, hf:NAME, a folder that Hugging Face or open_clip wrote, an archive of OpenAI's, or
    NAME:FILE, open_clip's name of a model and a file with its weights; or a folder with the encoder and decoder of
    OpenAI's dVAE, or the file of a VQGAN of taming-transformers with its --config. Nothing in them is executed.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")] = Field(description="model to read")
    out: Annotated[Path, tyro.conf.arg(metavar="RUN")] = Field(description="folder to write")
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(needed for a VQGAN only)")] = (
        Field(None, description="the .yaml or .json beside the weights of a VQGAN")
    )
    activation: Annotated[
        Literal["gelu", "quick_gelu", "gelu_tanh"] | None, tyro.conf.arg(help_behavior_hint="(default: what they say)")
    ] = Field(None, description="of weights that do not say what they were trained with")
    image_size: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as it is)")] = Field(
        None, ge=1, description="another size of pictures in pixels, to which learned positions are interpolated"
    )


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram convert")
    if Path(flags.source).exists() and _converts_tokenizer(flags):
        return
    _convert_clip(flags)


def _converts_tokenizer(flags: Flags) -> bool:
    from calligram.tokenizers.run import save_tokenizer
    from calligram.tokenizers.weights.source import open_image_tokenizer

    model = open_image_tokenizer(Path(flags.source), flags.config, flags.image_size)
    if model is None:
        return False
    if flags.activation is not None:
        raise UserError(f"--activation {flags.activation} is for a CLIP, and {flags.source} is an image tokenizer")
    if flags.out.exists() and (not flags.out.is_dir() or any(flags.out.iterdir())):
        raise UserError(f"{flags.out} exists and is not empty: choose another")
    save_tokenizer(model, flags.out)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    say(
        f"{millions:.1f} million parameters, {model.config.image_size} pixels a side, {model.grid**2} tokens of a "
        f"vocabulary of {model.vocab_size}"
    )
    print(flags.out)
    return True


def _convert_clip(flags: Flags) -> None:
    from calligram.clip.load import load_model, save_model
    from calligram.clip.weights.source import is_foreign

    if flags.config is not None:
        raise UserError(f"--config {flags.config} is for the file of a VQGAN, and there is no file {flags.source}")
    if not is_foreign(flags.source) and not Path(flags.source).is_dir():
        raise UserError(f"there is no model {flags.source}: `calligram convert --help` says what a SOURCE may be")
    model, tokenizer = load_model(flags.source, flags.image_size, flags.activation)
    save_model(model, tokenizer, flags.out)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    say(f"{millions:.1f} million parameters, {model.config.image_size} pixels a side")
    print(flags.out)
