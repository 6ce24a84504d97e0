"""Shows what differs between two evaluations, and whether by more than chance."""

import json
from itertools import groupby
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, Field

from calligram.cli.console import counted, say
from calligram.cli.fields import AsJson
from calligram.cli.flags import parse
from calligram.cli.table import print_table
from calligram.eval.compare import Difference, compare, read_results, warnings

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]


class Flags(BaseModel):
    """Shows the figures of two evaluations side by side, second minus first with its 95 % interval.

    A * marks a difference whose interval excludes 0.
    """

    first: Folder = Field(description="folder that `calligram evaluate --out` wrote")
    second: Folder = Field(description="another one, of the same data and tasks")
    as_json: AsJson = False


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram compare")
    first, second = read_results(flags.first), read_results(flags.second)
    found, only_first, only_second = compare(first, second)
    for text in warnings(first, second):
        say(f"calligram: {text}")
    if flags.as_json:
        print(json.dumps([each.facts() for each in found], indent=1, ensure_ascii=False))
    else:
        print_differences(found)
    for count, place in ((only_first, flags.first), (only_second, flags.second)):
        if count:
            say(f"only in {place}: {counted(count, 'figure')}")


def print_differences(found: list[Difference]) -> None:
    """A table for each model and data set."""
    ordered = sorted(found, key=lambda each: (each.model, each.data))
    for number, ((model, data), group) in enumerate(groupby(ordered, key=lambda each: (each.model, each.data))):
        print(f"{'' if number == 0 else chr(10)}{model}, {data}")
        rows = [_row(each) for each in group]
        print_table(("metric", "first", "second", "difference", "95 % interval", ""), rows, right=(1, 2, 3, 4))


def _row(each: Difference) -> list[str]:
    interval = "" if each.low is None or each.high is None else f"{each.low:+.4g} to {each.high:+.4g}"
    values = [f"{each.a:.4g}", f"{each.b:.4g}", f"{each.difference:+.4g}"]
    return [each.metric, *values, interval, "*" if each.differs else ""]
