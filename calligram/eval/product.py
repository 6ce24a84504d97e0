"""Models × tasks × data sets: which cells there are, and how they are measured, by one process or by several."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from pydantic import ValidationError

from calligram.clip.classifier import ALONE, Spread
from calligram.errors import UserError
from calligram.eval import provenance
from calligram.eval.cells import Cell, Figure, Outcome, Store
from calligram.eval.identity import DataSet, Part, cell_key
from calligram.eval.loading import Loader
from calligram.eval.runner import measure, nothing_in, task, tasks
from calligram.eval.systems import System
from calligram.eval.task import EvalConfig, EvalTask, Kind, Value

Parts = dict[tuple[Kind, str], Part]  # by kind and place


def _silently(text: str) -> None:
    pass


@dataclass(frozen=True)
class Crew:
    """This process among those that share the cells; alone by default."""

    spread: Spread = ALONE
    gather_bytes: Callable[[bytes], list[bytes]] = lambda data: [data]

    @property
    def is_main(self) -> bool:
        return self.spread.rank == 0

    def agreed(self, keys: list[str]) -> list[str]:
        """The main process's list, in all of them."""
        return json.loads(self.gather_bytes(json.dumps(keys).encode())[0])

    def gathered(self, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
        """What all have found; of two that found the same, the first one's."""
        told = self.gather_bytes(json.dumps([each.model_dump_json() for each in outcomes.values()]).encode())
        found = [Outcome.model_validate_json(text) for part in told for text in json.loads(part)]
        return {each.key: each for each in reversed(found)}


def plan(
    systems: Sequence[System], data: Sequence[DataSet], names: Sequence[str], config: EvalConfig, parts: Parts
) -> list[Cell]:
    """All cells of the named tasks, those that do not fit marked as skipped; without names all that fit.

    Raises UserError for a named task that fits nowhere, and where no task fits.
    """
    chosen = [task(name) for name in dict.fromkeys(names)] or list(tasks().values())
    cells = [_cell(system, each, one, config, parts) for system in systems for each in data for one in chosen]
    for one in chosen if names else ():
        reasons = [cell.reason for cell in cells if cell.task is one]
        if all(reasons):
            raise UserError(f"task {one.name} cannot run: {reasons[0]}")
    found = [cell for cell in cells if names or cell.reason is None]
    if not found:
        raise UserError("no task fits these models and data")
    return found


def _cell(system: System, data: DataSet, one: EvalTask, config: EvalConfig, parts: Parts) -> Cell:
    reason = system.why_not(one)
    if reason is None and not one.applies_to(data.manifest, config):
        reason = f"it is not for data such as {data.name}"
    taken: dict[Kind, Part] = {kind: parts[kind, place] for kind, place in system.taken_by(one).items()}
    return Cell(cell_key(one, taken, data, config), system, data, one, reason)


def run_cells(
    cells: Sequence[Cell],
    config: EvalConfig,
    loader: Loader,
    store: Store,
    crew: Crew = Crew(),
    tell: Callable[[str], None] = _silently,
) -> dict[str, Outcome]:
    """The outcome of each cell by its key: kept ones are read, the others measured, failures among them.

    Several processes measure what only CLIP reads together, each embedding its share of the pictures, and take the
    other cells in turn.
    """
    wanted = {cell.key: cell for cell in reversed(cells) if cell.reason is None}
    wanted = dict(reversed(wanted.items()))  # of the same figures the first that asks for them
    kept = {key: outcome for key in wanted if crew.is_main and (outcome := store.read(key)) is not None}
    pending = [wanted[key] for key in crew.agreed([key for key in wanted if key not in kept])]
    if kept:
        tell(f"{len(kept)} of {len(wanted)} cells are there already")
    together = [cell for cell in pending if crew.spread.size > 1 and cell.task.needs == ("clip",)]
    alone = [cell for cell in pending if cell not in together]
    work = [(cell, crew.spread) for cell in together]
    work += [(cell, ALONE) for cell in alone[crew.spread.rank :: crew.spread.size]]
    found: dict[str, Outcome] = {}
    for cell, spread in work:
        number = len(wanted) - len(pending) + pending.index(cell) + 1
        tell(f"[{number}/{len(wanted)}] {cell}")
        is_written = spread is ALONE or crew.is_main
        found[cell.key] = outcome = run_cell(cell, config, loader, store if is_written else Store(), spread)
        if outcome.status == "failed":
            tell(f"[{number}/{len(wanted)}] failed: {outcome.reason}")
    return crew.gathered(kept | found)


def run_cell(cell: Cell, config: EvalConfig, loader: Loader, store: Store, spread: Spread = ALONE) -> Outcome:
    """Measure one cell and keep what came of it. An error is an outcome, too; only an interruption is raised."""
    started = time.monotonic()
    facts: dict[str, Any] = {
        "key": cell.key,
        "versions": provenance.versions(),
        "machine": provenance.machine(loader.device),
    }
    try:
        values = _values(cell, config, loader, spread)
        figures = _figures(values)
        pictures = store.save_pictures(cell.key, values)
    except Exception as error:
        store.write_traceback(cell.key, error)
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return Outcome(status="failed", reason=" ".join(reason.split()), seconds=_since(started), **facts)
    if not values:
        outcome = Outcome(status="skipped", reason=nothing_in(cell.task, cell.data.name), **facts)
    else:
        outcome = Outcome(status="done", figures=figures, pictures=pictures, seconds=_since(started), **facts)
    store.write(outcome)
    return outcome


def _values(cell: Cell, config: EvalConfig, loader: Loader, spread: Spread) -> dict[str, Value]:
    torch.manual_seed(config.seed)  # where a task draws without a generator, not on what came before it
    models = loader.models(cell.system.taken_by(cell.task), cell.system.places)
    if models.clip is not None:
        models.clip.spread = spread
    return measure(cell.task, models, cell.data.place, config)


def _figures(values: dict[str, Value]) -> tuple[Figure, ...]:
    """Raises UserError for a value that is no number: it would be averaged, plotted and believed."""
    found = []
    for name, value in values.items():
        if isinstance(value, Image.Image):
            continue
        try:
            found.append(Figure.of(name, value))
        except ValidationError:
            raise UserError(f"{name} came out as {value}, which is no number") from None
    return tuple(found)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
