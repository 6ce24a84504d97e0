"""An evaluation as one HTML file: an overview, each task's table, charts and pictures, and where it all comes from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from calligram.eval.page.charts import charts
from calligram.eval.page.gaps import gaps
from calligram.eval.page.grid import Grid, Line, grids
from calligram.eval.page.pictures import picture_blocks
from calligram.eval.page.provenance import provenance, splits
from calligram.eval.page.schema import Results
from calligram.eval.page.words import READ_PAGE, duration, number_of, summary
from calligram.eval.report import unique_anchors, write_report
from calligram.eval.report_parts import Block, Cell, Fact, Noted, Part, Section, Table, Tables

FILE = "report.html"
OVERVIEW = "Each task's first figure. The tables further down have all of them, with what was drawn and confused."
FEW_NAMES = 4  # up to here they are listed, beyond it is counted

Anchors = Mapping[tuple[str, ...], str]  # (title,) of a section or (data set, task) → its anchor


def write_page(results: dict, folder: Path) -> Path:
    """Write ``folder/report.html``; the paths of the pictures in ``results`` are relative to the folder."""
    found = Results.read(results)
    path = folder / FILE
    write_report(path, "Evaluation", summary(found), list(_facts(found)), _sections(found, folder), _footer(found))
    return path


def _facts(results: Results) -> Iterator[Fact]:
    yield Fact("models", f"{len(results.model_names)}", _listed(results.model_names))
    yield Fact("data sets", f"{len(results.data_names)}", _listed(results.data_names))
    yield Fact("tasks", f"{len(results.task_names)}", _listed(results.task_names))
    tally = {status: sum(cell.status == status for cell in results.cells) for status in ("done", "failed", "skipped")}
    rest = [f"{tally[status]:,} {status}" for status in ("failed", "skipped") if tally[status]]
    good = False if tally["failed"] else None
    asked = tally["done"] + tally["failed"]
    yield Fact("cells measured", f"{tally['done']:,} of {asked:,}", ", ".join(rest), good)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= FEW_NAMES else f"{', '.join(names[: FEW_NAMES - 1])} and others"


def _footer(results: Results) -> dict[str, str]:
    facts = {
        "started": results.started,
        "took": duration(results.seconds) if results.seconds is not None else None,
        "machine": results.machine,
        "command": results.command,
    }
    return {name: value for name, value in facts.items() if value}


def _sections(results: Results, folder: Path) -> list[Section]:
    found = grids(results)
    anchors = _anchors(results, found)
    sections = [_overview(results, found, anchors)]
    for data in results.data_names:
        sections.append(_data_section(results, data, [grid for grid in found if grid.data == data], anchors, folder))
    return [*sections, *_missing(results, anchors), provenance(results, anchors[("Provenance",)])]


def _anchors(results: Results, found: Sequence[Grid]) -> Anchors:
    """One of its own for each heading of the page."""
    keys = [("Overview",), ("Not measured",), ("Provenance",), *((name, "") for name in results.data_names)]
    keys += [(grid.data, grid.task) for grid in found]
    return dict(zip(keys, unique_anchors(" ".join(filter(None, key)) for key in keys), strict=True))


def _overview(results: Results, found: Sequence[Grid], anchors: Anchors) -> Section:
    tables = []
    for data in results.data_names:
        pairs = [(grid, grid.headline) for grid in found if grid.data == data]
        rows = [_overview_row(grid, line, results.model_names, anchors) for grid, line in pairs if line is not None]
        tables.append(Table(data, ["task", *results.model_names], rows))
    return Section("Overview", f"{OVERVIEW}\n\n{READ_PAGE}", [Tables("", tables)], anchors[("Overview",)])


def _overview_row(grid: Grid, line: Line, models: Sequence[str], anchors: Anchors) -> list[Cell]:
    name = Noted(grid.task, line.metric.label, link=anchors[(grid.data, grid.task)])
    return [name, *(_figure(line, model) for model in models)]


def _figure(line: Line, model: str) -> Noted:
    return Noted(line.value(model) or "–", line.bounds(model), best=model in line.best)


def _data_section(results: Results, name: str, found: Sequence[Grid], anchors: Anchors, folder: Path) -> Section:
    parts = [_part(results, grid, anchors[(grid.data, grid.task)], folder) for grid in found]
    about = [
        ". ".join(filter(None, [splits(data), f"Licence: {data.licence}" if data.licence else ""])) + "."
        for data in results.data
        if data.name == name and (data.splits or data.licence)
    ]
    text = "\n\n".join(about if parts else [*about, "Nothing was measured."])
    return Section(name, text, parts, anchors[(name, "")])


def _part(results: Results, grid: Grid, anchor: str, folder: Path) -> Part:
    blocks: list[Block] = []
    if grid.lines:
        rows = [_row(line, grid.models) for line in grid.lines]
        blocks.append(Table("", ["metric", *grid.models, "n"], rows, label=f"{grid.task} on {grid.data}"))
    drawn = charts(grid, results.model_names)
    blocks += [drawn] if drawn is not None else []
    blocks += picture_blocks(grid.cells, folder)
    failed = [f"{cell.model} failed: {cell.reason or 'no reason given'}" for cell in grid.failed]
    return Part(grid.task, anchor, "\n\n".join(failed), blocks)


def _row(line: Line, models: Sequence[str]) -> list[Cell]:
    name = Noted(line.metric.label, line.metric.name)
    return [name, *(_figure(line, model) for model in models), line.count or "–"]


def _missing(results: Results, anchors: Anchors) -> list[Section]:
    found = gaps(results)
    if not found:
        return []
    rows: list[list[Cell]] = [[gap.status, gap.task, gap.model, ", ".join(gap.data), gap.reason] for gap in found]
    failed = sum(len(gap.data) for gap in found if gap.status == "failed")
    text = f"{number_of(failed, 'cell')} failed." if failed else ""
    table = Table("", ["status", "task", "model", "data", "reason"], rows, label="not measured")
    return [Section("Not measured", text, [table], anchors[("Not measured",)])]
