"""Turns a CLIP of open_clip, OpenAI or Hugging Face into a run."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, Field

from calligram.cli.console import say
from calligram.cli.fields import Native
from calligram.cli.flags import parse
from calligram.errors import UserError


class Flags(BaseModel):
    """Reads a CLIP of others and writes a run's folder, which every verb takes, and a training as --init.

    SOURCE is open_clip:NAME/TAG, hf:NAME, a folder that Hugging Face or open_clip wrote, an archive of OpenAI's, or
    NAME:FILE, open_clip's name of a model and a file with its weights. Nothing in them is executed.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")] = Field(description="model to read")
    out: Annotated[Path, tyro.conf.arg(metavar="RUN")] = Field(description="folder to write")
    activation: Annotated[
        Literal["gelu", "quick_gelu", "gelu_tanh"] | None, tyro.conf.arg(help_behavior_hint="(default: what they say)")
    ] = Field(None, description="of weights that do not say what they were trained with")
    image_size: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as it is)")] = Field(
        None, ge=1, description="another size of pictures in pixels, to which learned positions are interpolated"
    )
    native: Native = None


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram convert")
    from calligram.clip.load import load_model, save_model
    from calligram.clip.weights.source import is_foreign

    if not is_foreign(flags.source) and not Path(flags.source).is_dir():
        raise UserError(f"there is no model {flags.source}: `calligram convert --help` says what a SOURCE may be")
    model, tokenizer = load_model(flags.source, flags.image_size, flags.activation, flags.native)
    save_model(model, tokenizer, flags.out)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    say(f"{millions:.1f} million parameters, {model.config.image_size} pixels a side")
    print(flags.out)
