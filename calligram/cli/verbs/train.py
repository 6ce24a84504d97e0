"""Trains a preset, changed by flags; torchrun works in front of it."""

import inspect
import os
from pathlib import Path
from typing import Any

from pydantic import Field, create_model

from calligram.cli.console import say
from calligram.cli.fields import Switch
from calligram.cli.find import KINDS
from calligram.cli.flags import parse
from calligram.cli.table import print_list
from calligram.presets import preset, presets
from calligram.presets.build import start
from calligram.presets.config import ClipRun, DalleRun, TokenizerRun

PROG = "calligram train"
AnyRun = TokenizerRun | ClipRun | DalleRun


def main(args: list[str]) -> None:
    if not args or args[0] in ("--list", "-h", "--help"):
        list_presets()
        return
    name, *rest = args
    config = preset(name)
    flags = parse_flags(name, config, rest)
    run: Path = flags.out
    wanted = type(config)(**{field: getattr(flags, field) for field in type(config).model_fields})
    start(wanted, run, flags.resume, flags.allow_changes)
    # under torchrun every process comes here; the first one speaks
    if os.environ.get("RANK", "0") == "0":
        say(f"trained for {wanted.train.steps} steps; `calligram show {run}` tells more")
        print(run)


def parse_flags(name: str, config: AnyRun, args: list[str]) -> Any:
    """The fields of the preset's run, and those of every training."""

    flags = create_model(
        "Flags",
        __base__=type(config),
        out=(Path, Field(Path("runs", name), description="folder of the run")),
        resume=(Switch, Field(False, description="go on from the newest checkpoint in --out")),
        allow_changes=(Switch, Field(False, description="with --resume, also where the flags change what is learnt")),
    )
    defaults = flags.model_construct(**dict(config), out=Path("runs", name), resume=False, allow_changes=False)
    prog = f"{PROG} {name}"
    return parse(flags, args, prog=prog, description=inspect.cleandoc(type(config).__doc__ or ""), default=defaults)


def list_presets() -> None:
    print(f"usage: {PROG} PRESET [--flags]\n")
    print_list((name, summary(config)) for name, config in sorted(presets().items()))
    print(f"\n{PROG} PRESET --help lists the flags of a preset.")


def summary(config: AnyRun) -> str:
    """``CLIP on shards/shapes, 3000 steps of 128 samples``."""
    train = config.train
    return f"{KINDS[config.type]} on {config.data.shards}, {train.steps} steps of {train.batch_size} samples"
