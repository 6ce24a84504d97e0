"""Lays a data set out as CLIP_benchmark reads it, by links to its tars."""

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, Field

from calligram.cli.console import say
from calligram.cli.flags import parse
from calligram.data.layout import lay_out
from calligram.data.place import Place
from calligram.data.resolve import resolve


class Flags(BaseModel):
    """Lays a data set out as CLIP_benchmark reads it: `clip_benchmark eval --dataset wds/NAME --dataset_root OUT`.

    The tars are linked, not copied. Pictures are classified by the names and templates of the data set; one without
    classes becomes a data set for retrieval.
    """

    data: Annotated[Place, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Field(
        description="folder of a data set, or its name: torchvision:NAME, hf:OWNER/NAME"
    )
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Field(description="folder to write")


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram data export")
    splits = lay_out(resolve(flags.data), flags.out)
    print(flags.out)
    say(f"{', '.join(splits)}: linked as CLIP_benchmark reads them")
