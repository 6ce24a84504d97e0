"""Measures models on data sets: every task that fits, one table."""

import json
import pkgutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, ConfigDict, Field

from calligram.cli.console import STATUS_FAILED, say
from calligram.cli.fields import AsJson, Device
from calligram.cli.figures import print_figures
from calligram.cli.find import check_output, find_device, make_folder
from calligram.cli.flags import Names, parse
from calligram.cli.processes import Processes, joined
from calligram.data.resolve import resolve
from calligram.errors import UserError
from calligram.eval import tasks
from calligram.eval.config import EvalConfig

# by the names of their files: what is in them takes torch, and with it seconds, to be read
TASKS = sorted(name.replace("_", "-") for _, name, _ in pkgutil.iter_modules(tasks.__path__))
JSON = ".json"
Repeated = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="RUN")]
Run = Annotated[str | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="(default: the only CLIP there is)")]


class Subject(BaseModel):
    """What is measured on what, and where the figures go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Repeated = Field(
        description="run to evaluate, or a model of others; give it once for each, or join several to one by a +"
    )
    data: Annotated[Names, tyro.conf.arg(metavar="DIR,DIR,...")] = Field(
        default=("shards/shapes",),
        description="folders that `calligram data make` wrote, or their URLs; CLIP_benchmark's, or folders of "
        "pictures; torchvision:NAME, hf:OWNER/NAME",
    )
    tasks: Annotated[Names, tyro.conf.arg(help_behavior_hint="(default: all that fit)")] = Field(
        default=(), description=f"evaluation tasks to run: {', '.join(TASKS)}"
    )
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: none)")] = Field(
        default=None,
        description="folder for results.json, tables, a report and finished parts; FILE.json: the numbers alone",
    )
    rerank: Run = Field(default=None, description="CLIP that picks among the drawings of every DALL-E, and scores them")
    space: Annotated[
        str | None, tyro.conf.arg(metavar="SPACE", help_behavior_hint="(default: the CLIP that picks)")
    ] = Field(default=None, description="where sets of pictures are compared, for FID and the like")


class Evaluate(EvalConfig, Subject):
    """Evaluate models on data sets: each task on all that it fits, each figure with its 95 % interval.

    With --out DIR a finished part is kept: the same command goes on where it was stopped. Under torchrun the parts are
    shared among the processes.
    """

    device: Device = "auto"
    as_json: AsJson = False

    @property
    def folder(self) -> Path | None:
        return self.out if self.out is not None and self.out.suffix.lower() != JSON else None


def main(args: list[str]) -> int:
    flags = parse(Evaluate, args, prog="calligram evaluate")
    from calligram.eval.results import flat

    _check_out(flags)
    with joined() as processes:
        results, is_flat = evaluate(flags, processes)
    if processes.is_main:
        if flags.as_json:
            print(json.dumps(flat(results) if is_flat else results, indent=1, ensure_ascii=False))
        else:
            print_figures(results["rows"])
        _write(flags, results)
    return _status(results, flags.tasks)


def evaluate(flags: Evaluate, processes: Processes) -> tuple[dict[str, Any], bool]:
    """The results, and whether a metric's name is enough to tell them apart. Bad input is told before models load."""
    from calligram.eval.cells import Store
    from calligram.eval.identity import identify, read_data
    from calligram.eval.loading import Loader
    from calligram.eval.product import Crew, plan, run_cells
    from calligram.eval.provenance import machine
    from calligram.eval.results import as_results
    from calligram.eval.runner import check_tasks
    from calligram.eval.systems import is_flat, read_systems

    started, begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
    check_tasks(flags.tasks)
    config = EvalConfig(**flags.model_dump(include=set(EvalConfig.model_fields)))
    device = find_device(flags.device)
    systems, notes = read_systems(flags.model, flags.rerank, flags.space)
    for note in notes:
        say(note)
    loader = Loader(device)
    with processes.main_first():
        data = read_data({word: resolve(word) for word in flags.data}, config)
        is_one = is_flat(systems) and len(data) == 1
        if flags.out is not None and flags.folder is None and not is_one:
            raise UserError(f"--out {flags.out}: several models or data sets do not fit one list: give a folder")
        if (flags.folder is not None) and processes.is_main:
            make_folder(flags.folder, "--out")
        parts = {item: identify(*item, loader) for system in systems for item in system.places.items()}
    cells = plan(systems, data, flags.tasks, config, parts)
    crew = Crew(processes.spread(), processes.gather_bytes)
    outcomes = run_cells(cells, config, loader, Store(flags.folder), crew, say)
    seconds = time.monotonic() - begin
    return as_results(systems, data, cells, outcomes, parts, config, machine(device), started, seconds), is_one


def _check_out(flags: Evaluate) -> None:
    if flags.out is None:
        return
    if flags.folder is None:
        check_output(flags.out, "--out", (JSON,))
    elif flags.out.is_file():
        raise UserError(f"--out {flags.out} is a file: give a folder, or a name that ends in {JSON}")


def _write(flags: Evaluate, results: dict[str, Any]) -> None:
    from calligram.eval.results import flat, write_folder
    from calligram.eval.runner import write_results

    if flags.folder is not None:
        write_folder(results, flags.folder)
        say(f"wrote {flags.folder}")
    elif flags.out is not None:
        write_results(flat(results), flags.out)
        say(f"wrote {flags.out}")


def _status(results: dict[str, Any], named: Sequence[str]) -> int:
    """1 where a cell failed. Raises UserError for a task that was asked for by name and found nothing anywhere."""
    failed = [cell for cell in results["cells"] if cell["status"] == "failed"]
    for name in named:
        cells = [cell for cell in results["cells"] if cell["task"] == name]
        if all(cell["status"] == "skipped" for cell in cells):
            raise UserError(next(cell["reason"] for cell in cells if cell["reason"]))
    for reason in dict.fromkeys(cell["reason"] for cell in failed):
        cells = [cell for cell in failed if cell["reason"] == reason]
        models, data, names = (
            ", ".join(dict.fromkeys(cell[key] for cell in cells)) for key in ("model", "data", "task")
        )
        say(f"calligram: failed: {models} on {data} ({names}): {reason}")
    return STATUS_FAILED if failed else 0
