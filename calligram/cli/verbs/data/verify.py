"""Checks every shard, picture and caption of a data set."""

import dataclasses
import json
from typing import Annotated

import tyro
from pydantic import BaseModel, Field

from calligram.cli.console import STATUS_FAILED, counted
from calligram.cli.fields import AsJson
from calligram.cli.flags import parse
from calligram.data.manifest import Manifest
from calligram.data.place import Place
from calligram.data.verify import Problem, verify


class Flags(BaseModel):
    """Checks sizes, checksums, indexes, pictures and captions of a data set.

    Prints a line for each problem, and exits with status 1 where there is one.
    """

    data: Annotated[Place, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Field(
        description="folder of a data set, or its URL"
    )
    as_json: AsJson = False


def main(args: list[str]) -> int:
    flags = parse(Flags, args, prog="calligram data verify")
    manifest = Manifest.load(flags.data)
    problems = list(verify(flags.data))
    num_shards = sum(map(len, manifest.splits.values()))
    num_samples = sum(map(manifest.num_samples, manifest.splits))
    if flags.as_json:
        report = {"shards": num_shards, "samples": num_samples, "problems": list(map(dataclasses.asdict, problems))}
        print(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        for problem in problems:
            print(describe(problem))
        found = counted(len(problems), "problem") if problems else "no problems"
        print(f"{counted(num_shards, 'shard')}, {counted(num_samples, 'sample')}: {found}")
    return STATUS_FAILED if problems else 0


def describe(problem: Problem) -> str:
    """``train/000003.tar, sample train-0003012: the caption is empty``."""
    sample = f", sample {problem.key}" if problem.key is not None else ""
    return f"{problem.shard}{sample}: {problem.message}"
