"""Lists the runs in a folder: what each is, how far it came, its last loss."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, Field

from calligram import runs
from calligram.cli.fields import AsJson
from calligram.cli.find import KINDS, RUNS
from calligram.cli.flags import parse
from calligram.cli.table import print_table
from calligram.errors import UserError


class Flags(BaseModel):
    """Lists the runs below a folder, the one that was written to last first."""

    folder: Annotated[
        Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: runs)")
    ] = Field(RUNS, description="folder that runs lie in")
    as_json: AsJson = False


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram runs")
    if not flags.folder.is_dir():
        raise UserError(f"{flags.folder} is not a folder: give the one that runs lie in")
    found = sorted(find(flags.folder), key=lambda row: -row["changed"])
    if flags.as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    elif not found:
        print(f"no runs in {flags.folder}")
    else:
        rows = [[row["run"], row["kind"], _steps(row), _number(row["loss"]), _ago(row["changed"])] for row in found]
        print_table(("run", "what", "steps", "loss", "last written"), rows, right=(2, 3))


def find(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.rglob(runs.CONFIG)):
        run = path.parent
        try:
            config = runs.read_config(run)
        except UserError:
            continue
        if "train" not in config:  # a model by itself, such as the image tokenizer that a DALL-E keeps
            continue
        checkpoints, metrics = runs.checkpoints(run), runs.read_metrics(run)
        last = metrics[-1] if metrics else {}
        files = [path, run / runs.METRICS, *checkpoints]
        found.append(
            {
                "run": str(run),
                "kind": KINDS.get(config["type"], config["type"]),
                "steps": int(last.get("step", 0)),
                "planned_steps": config["train"].get("steps"),
                "saved_step": runs.step_of(checkpoints[-1]) if checkpoints else 0,
                "loss": last.get("loss"),
                "changed": max(file.stat().st_mtime for file in files if file.exists()),
            }
        )
    return found


def _steps(row: dict[str, Any]) -> str:
    return f"{row['steps']:,} of {row['planned_steps']:,}" if row["planned_steps"] else f"{row['steps']:,}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _ago(moment: float) -> str:
    seconds = max(0, time.time() - moment)
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"
