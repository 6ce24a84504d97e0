"""Shows samples of a data set: a sheet of pictures with their captions."""

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import ImageOps
from pydantic import BaseModel, Field

from calligram.cli.console import say
from calligram.cli.find import PICTURE_SUFFIXES, check_output
from calligram.cli.flags import parse
from calligram.data.bad import BadSample
from calligram.data.dataset import Shards
from calligram.data.permute import mix, permute
from calligram.data.place import Place
from calligram.data.resolve import resolve
from calligram.errors import UserError
from calligram.eval.sheet import contact_sheet

SIDE = 160  # pixels of the longer side of a picture on the sheet
COLUMNS = 6


class Flags(BaseModel):
    """Draws samples of a data set at random and writes them as one picture, each with its first caption."""

    data: Annotated[Place, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Field(
        description="folder of a data set, its URL, or its name: torchvision:NAME, hf:OWNER/NAME"
    )
    num_samples: Annotated[int, tyro.conf.arg(aliases=["-n"])] = Field(36, ge=1, le=400, description="samples to show")
    out: Path = Field(Path("samples.png"), description="picture to write, .png or .jpg")
    split: str = Field("train", description="split to take them from")
    seed: int = Field(0, ge=0, description="of the choice")


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram data show")
    check_output(flags.out, "--out", PICTURE_SUFFIXES)
    shards = Shards(resolve(flags.data), flags.split)
    numbers = permute(np.arange(min(flags.num_samples, len(shards))), len(shards), mix(flags.seed))
    pictures, captions = [], []
    for number in numbers.tolist():
        try:
            record = shards[number]
            picture = record.image()
        except BadSample as error:
            say(f"left out: {error}")
            continue
        pictures.append(ImageOps.contain(picture, (SIDE, SIDE)))
        captions.append(record.captions[0])
    if not pictures:
        raise UserError(f"none of {flags.data} can be shown: `calligram data verify {flags.data}` tells why")
    contact_sheet(pictures, captions, columns=min(COLUMNS, len(pictures)), scale=1).save(flags.out)
    print(flags.out)
