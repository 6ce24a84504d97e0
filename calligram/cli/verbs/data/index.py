"""Writes the indexes beside the shards, and a manifest where there is none."""

import glob
from collections import Counter
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, Field

from calligram.cli.console import counted
from calligram.cli.fields import Switch
from calligram.cli.find import new_folder
from calligram.cli.flags import parse
from calligram.data.catalogue import catalogue, gather
from calligram.data.manifest import Manifest
from calligram.data.place import is_url
from calligram.errors import UserError


class Flags(BaseModel):
    """Makes a data set of WebDataset tars: an index beside each, and a manifest.

    Of a folder, every .tar is taken; the folders in it are splits.

    Where there is a manifest, its shards are indexed anew.

    With --out any tars, several too: 'a/*.tar', 'https://host/{0000..0123}.tar',

    s3://, gs://, hf://; those elsewhere are downloaded once, into the cache.

    Samples without a picture, or without .txt, .json or .cls, are left out.
    """

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SHARDS", help_behavior_hint="")] = (
        Field((), description="folder of shards; with --out any tars, by path, pattern or URL")
    )
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: the folder of shards)")] = (
        Field(None, description="folder to write the manifest in; one that is there gets a split more")
    )
    split: Annotated[str, tyro.conf.arg(help_behavior_hint="(default: train)")] = Field(
        "", description="with --out, what the shards are for"
    )
    strict: Switch = Field(False, description="stop at the first member that is not as it should be")
    allow_pipe: Switch = Field(
        False, description="run what follows pipe: as a command in a shell, with all your rights; its output is a shard"
    )


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram data index")
    manifest = index(flags)
    splits = [flags.split or "train"] if flags.out is not None else manifest.splits
    shards = [shard for split in splits for shard in manifest.splits[split]]
    num_samples = sum(shard.num_samples for shard in shards)
    print(f"indexed {counted(len(shards), 'shard')}, {counted(num_samples, 'sample')}")
    left_out = sum((Counter(shard.left_out) for shard in shards), Counter())
    for reason, count in left_out.most_common():
        print(f"left out {count}: {reason}")


def index(flags: Flags) -> Manifest:
    if not flags.data:
        raise UserError("missing: SHARDS, a folder of shards; `calligram data index --help` lists the flags")
    if flags.out is not None:
        with new_folder(flags.out, "--out"):
            return gather(flags.data, flags.out, flags.split or "train", flags.strict, flags.allow_pipe)
    if flags.split:
        raise UserError(f"--split {flags.split} is for shards with --out: the folders in a folder are its splits")
    (folder, *others) = flags.data
    if others or is_url(folder) or (not Path(folder).is_dir() and (glob.has_magic(folder) or "{" in folder)):
        raise UserError(f"{' '.join(flags.data)[:60]}: give --out DIR, the folder to write the manifest of these in")
    return catalogue(Path(folder), flags.strict)
