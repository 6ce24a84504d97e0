"""The flags of ``calligram generate``, in the order of its help."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, Field

from calligram.cli.fields import AsJson, Device, OptionalRun, Switch
from calligram.errors import UserError

THE_RUNS_OWN = "(default: the run's own)"
NONE = "(default: none)"


class OrderFlags(BaseModel):
    """What to draw, and where to."""

    prompts: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT...", help_behavior_hint="")
    ] = Field((), description="what to draw, in quotes; several are drawn together; - reads a list from stdin")
    prompts_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint=NONE)] = Field(
        None,
        description="a prompt a line; or .jsonl, a line such as "
        '{"prompt": "a red dog", "seed": 3, "num_images": 4, "guidance": 2}',
    )
    out: Path = Field(
        description="picture to write, .png or .jpg; or a folder (no ending), for all pictures and results.jsonl"
    )
    model: OptionalRun = Field(None, description="DALL-E run")
    rerank: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint=NONE)] = Field(
        None, description="CLIP run that puts the best picture first"
    )
    num_images: Annotated[int, tyro.conf.arg(aliases=["-n"])] = Field(16, ge=1, description="pictures of each prompt")
    seed: int = Field(0, ge=0, description="of a prompt's first picture; the next have seed + 1, seed + 2 ...")


class SamplingFlags(BaseModel):
    """Those of the sampler that one may set; None leaves them to the run."""

    guidance: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=THE_RUNS_OWN)] = Field(
        None, ge=0, description="classifier-free guidance scale; 1 is none, more keeps closer to the prompt"
    )
    guidance_schedule: Annotated[
        Literal["constant", "linear", "cosine"] | None,
        tyro.conf.arg(metavar="{constant,linear,cosine}", help_behavior_hint=THE_RUNS_OWN),
    ] = Field(None, description="how it runs over the picture: linear and cosine grow from none at the top")
    guidance_interval: Annotated[
        tuple[float, float] | None, tyro.conf.arg(metavar="FROM TO", help_behavior_hint=THE_RUNS_OWN)
    ] = Field(None, description="shares of the picture between which there is guidance, such as 0 0.5")
    temperature: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=THE_RUNS_OWN)] = Field(
        None, gt=0, description="below 1: safer, above 1: wilder"
    )
    top_k: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=THE_RUNS_OWN)] = Field(
        None, ge=1, description="draw from the k likeliest tokens only"
    )
    top_p: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=THE_RUNS_OWN)] = Field(
        None, gt=0, le=1, description="draw from the likeliest tokens that have this probability together"
    )
    min_p: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=THE_RUNS_OWN)] = Field(
        None, ge=0, le=1, description="draw from tokens that have at least this share of the likeliest's probability"
    )
    decoding: Annotated[
        Literal["plain", "jacobi"] | None, tyro.conf.arg(metavar="{plain,jacobi}", help_behavior_hint=THE_RUNS_OWN)
    ] = Field(None, description="jacobi: several tokens a pass, guessed and corrected; the same picture")
    weights: Annotated[
        Literal["same", "bf16", "int8"] | None,
        tyro.conf.arg(metavar="{same,bf16,int8}", help_behavior_hint=THE_RUNS_OWN),
    ] = Field(None, description="precision of the weights while drawing; fewer bits, faster steps")
    step: Annotated[
        Literal["plain", "fast"] | None, tyro.conf.arg(metavar="{plain,fast}", help_behavior_hint=THE_RUNS_OWN)
    ] = Field(None, description="fast: a pass of the model is one call of C, on CPUs")


class Flags(SamplingFlags, OrderFlags):
    """Draws pictures of prompts and writes the best; without --rerank the first.

    A PNG keeps prompt, seed and settings; the same seed draws the same picture. Pictures of any size are read for
    --complete and --vary, scaled and cut as in training; without a PROMPT the model draws there what it likes.
    """

    complete: Annotated[Path | None, tyro.conf.arg(metavar="PICTURE", help_behavior_hint=NONE)] = Field(
        None, description="keep a part of this picture and draw the rest"
    )
    keep_rows: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: half)")] = Field(
        None, description="of --complete: rows of tokens to keep, from the top"
    )
    mask: Annotated[Path | None, tyro.conf.arg(metavar="PICTURE", help_behavior_hint=NONE)] = Field(
        None, description="of --complete: draw anew where this picture, of the same size, is white or transparent"
    )
    tries: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 8)")] = Field(
        None, ge=1, description="of --mask: drawings each picture is chosen from, to fit what is kept below it"
    )
    vary: Annotated[Path | None, tyro.conf.arg(metavar="PICTURE", help_behavior_hint=NONE)] = Field(
        None, description="draw pictures like this one"
    )
    strength: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: 0.2)")] = Field(
        None,
        ge=0,
        le=1,
        description="of --vary: share of tokens to draw afresh, 0 to 1; at 0 only by --source-prompt",
    )
    source_prompt: Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint="(default: PROMPT)")] = Field(
        None, description="of --vary: what the picture shows now; what both texts agree on tends to stay"
    )
    grid: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint=NONE)] = Field(
        None, description="also write all pictures as one, .png or .jpg; a row for each of several prompts"
    )
    animate: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint=NONE)] = Field(
        None, description="also write how the best picture of each prompt was drawn, .gif"
    )
    best: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")] = Field(
        None, ge=1, description="pictures of each prompt that a folder takes, the best first"
    )
    resume: Annotated[Switch, tyro.conf.arg(help_behavior_hint="")] = Field(
        False, description="go on in a folder: draw what is missing there"
    )
    scale: int = Field(4, ge=1, le=64, description="pixels a side that each drawn pixel becomes; 1: as drawn")
    batch_size: int = Field(32, ge=1, description="pictures drawn at a time")
    device: Device = "auto"
    as_json: AsJson = False


# flag → the flag that it belongs to
BELONGS_TO = {
    "keep_rows": "complete",
    "mask": "complete",
    "tries": "mask",
    "strength": "vary",
    "source_prompt": "vary",
}


def check_together(flags: Flags) -> None:
    """Raises UserError for flags that say two things, or nothing without another."""
    for first, second in (("complete", "vary"), ("keep_rows", "mask")):
        if getattr(flags, first) is not None and getattr(flags, second) is not None:
            raise UserError(f"both {_spell(first)} and {_spell(second)}: give one of them")
    for name, owner in BELONGS_TO.items():
        if getattr(flags, name) is not None and getattr(flags, owner) is None:
            raise UserError(f"{_spell(name)} is for {_spell(owner)} PICTURE: give both, or neither")
    if flags.resume and flags.animate is not None:
        raise UserError("both --resume and --animate: how the pictures that are there were drawn is not kept")


def _spell(name: str) -> str:
    return f"--{name.replace('_', '-')}"
