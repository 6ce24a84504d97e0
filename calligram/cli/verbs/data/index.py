"""Writes the indexes beside the shards anew."""

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, Field

from calligram.cli.flags import parse
from calligram.data import index
from calligram.data.manifest import FILE_NAME, Manifest
from calligram.errors import UserError
from calligram.progress import track


class Flags(BaseModel):
    """Writes the index beside each shard: where every picture and caption lies.

    Takes the shards that the manifest names, or every .tar in a folder without one.
    """

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Field(description="folder of shards")


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram data index")
    shards = shards_in(flags.data)
    num_samples = sum(len(index.write(path)) for path in track(shards, "index shards"))
    print(f"indexed {len(shards)} shards, {num_samples} samples")


def shards_in(folder: Path) -> list[Path]:
    if (folder / FILE_NAME).is_file():
        shards = [folder / shard.file for shards in Manifest.load(folder).splits.values() for shard in shards]
    else:
        shards = sorted(folder.rglob("*.tar"))
    if not shards:
        raise UserError(f"{folder} has no shards: no {FILE_NAME} and no .tar in it")
    for path in shards:
        if not path.is_file():
            raise UserError(f"shard {path} is missing: fetch or make the data set again")
    return shards
