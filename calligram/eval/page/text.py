"""An evaluation as text: CSV for programs, Markdown that a terminal shows as well as a browser."""

import csv
import io
import re
from collections.abc import Sequence

from calligram.eval.page.gaps import gaps
from calligram.eval.page.grid import Line, grids
from calligram.eval.page.schema import Results
from calligram.eval.page.words import READ_MARKDOWN, summary

COLUMNS = ("model", "data", "task", "metric", "value", "low", "high", "count")


def as_csv(results: dict) -> str:
    """One line a figure, unrounded; empty where there is none."""
    file = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(row.model_dump(include=set(COLUMNS))) for row in Results.read(results).rows)
    return file.getvalue()


def as_markdown(results: dict) -> str:
    """A table for each data set: metrics down, models across, the best in bold; then what was not measured."""
    found = Results.read(results)
    blocks = ["# Evaluation", summary(found)]
    for data in found.data_names:
        lines = [line for grid in grids(found) if grid.data == data for line in grid.lines]
        blocks += [f"## {plain(data)}", _table(lines, found.model_names) if lines else "Nothing was measured."]
    missing = [
        f"- {gap.status}: {plain(gap.task)} of {plain(gap.model)} on {plain(', '.join(gap.data))}: {plain(gap.reason)}"
        for gap in gaps(found)
    ]
    if missing:
        blocks += ["## Not measured", "\n".join(missing)]
    return "\n\n".join([*blocks, READ_MARKDOWN]) + "\n"


def _table(lines: Sequence[Line], model_names: Sequence[str]) -> str:
    models = [model for model in model_names if any(model in line.rows for line in lines)]
    headers = ["task", "metric", *map(plain, models), "n"]
    rows = [
        [plain(line.task), plain(line.metric.label), *(_figure(line, model) for model in models), line.count]
        for line in lines
    ]
    return align(headers, rows)


def _figure(line: Line, model: str) -> str:
    text = line.with_interval(model)
    return f"**{text}**" if model in line.best else text


def align(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 2) -> str:
    """A Markdown table whose columns are in line as text, too; all but the first ``left`` stand at the right."""
    from rich.cells import cell_len  # letters of some scripts, and emoji, are two cells wide

    widths = [max(3, *map(cell_len, column)) for column in zip(headers, *rows, strict=True)]
    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = []
    for row in [headers, rule, *rows]:
        spaces = [" " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True)]
        cells = [
            text + space if i < left else space + text for i, (text, space) in enumerate(zip(row, spaces, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plain(text: str) -> str:
    """The text in one line in which nothing is markup."""
    return re.sub(r"([\\`*<>|\[\]&])", r"\\\1", " ".join(text.split()))
