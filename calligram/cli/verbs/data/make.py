"""Writes a data set from a named source, or from one's own pictures."""

import difflib
import inspect
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from calligram.cli.console import counted, say
from calligram.cli.find import new_folder
from calligram.cli.flags import parse
from calligram.cli.table import megabytes, print_list, print_table
from calligram.data.manifest import Manifest
from calligram.data.source import Source
from calligram.data.sources import sources
from calligram.data.writer import write_shards
from calligram.errors import UserError

PROG = "calligram data make"
SHOWN = 5  # pictures that were left out and are named


def main(args: list[str]) -> None:
    if not args or args[0] in ("-h", "--help"):
        list_sources()
        return
    name, *rest = args
    kind = source_named(name)
    words = inspect.cleandoc(kind.__doc__ or "").replace("``", "`")
    flags: Any = parse(flags_of(kind), rest, prog=f"{PROG} {name}", description=words)
    source = kind(**{field: getattr(flags, field) for field in kind.model_fields})
    with new_folder(flags.out.parent, "--out"):
        manifest = write_shards(source, flags.out, flags.samples_per_shard, flags.processes)
    print_summary(manifest)
    # only a source of files that people bring along leaves any out
    report_skipped(getattr(source, "skipped", []))
    say(f"{flags.out} is ready, licence: {manifest.licence}")


def list_sources() -> None:
    print(f"usage: {PROG} NAME [--flags]\n")
    print_list((name, summary(kind)) for name, kind in sorted(sources().items()))
    print(f"\n{PROG} NAME --help lists the flags of a source.")


def summary(kind: type[Source]) -> str:
    """``The source ``x``: drawings of ...`` at the top of a source's file, without its beginning."""
    first_line = (sys.modules[kind.__module__].__doc__ or "").partition("\n")[0]
    return first_line.partition("``: ")[2] or first_line


def source_named(name: str) -> type[Source]:
    if name in sources():
        return sources()[name]
    if name.startswith("-"):
        raise UserError(f"{PROG}: name the source before its flags; there are: {', '.join(sorted(sources()))}")
    near = difflib.get_close_matches(name, sources(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(sources()))}"
    raise UserError(f"unknown source {name!r}; {hint}")


def flags_of(kind: type[Source]) -> type[Source]:
    """A source's fields and those of every source."""

    class Flags(kind):
        out: Path = Field(Path("shards", kind.name), description="folder to write; a data set there is replaced")
        samples_per_shard: int = Field(1000, ge=1, description="samples in one tar")
        processes: int = Field(os.cpu_count() or 1, ge=1, description="processes that draw and write")

    return Flags


def print_summary(manifest: Manifest) -> None:
    rows = [
        (split, str(manifest.num_samples(split)), str(len(shards)), megabytes(sum(s.num_bytes for s in shards)))
        for split, shards in manifest.splits.items()
    ]
    print_table(["split", "samples", "shards", "size"], rows, right=(1, 2, 3))


def report_skipped(skipped: list[tuple[Path, str]]) -> None:
    if not skipped:
        return
    say(f"left out {counted(len(skipped), 'picture')}:")
    for path, reason in skipped[:SHOWN]:
        say(f"  {path}: {reason}")
    if len(skipped) > SHOWN:
        say(f"  and {len(skipped) - SHOWN} more")
