"""The figures of a task as dots with whiskers."""

import math
from collections.abc import Iterator, Sequence

from calligram.eval.page.digits import has_interval, is_number
from calligram.eval.page.grid import Grid, Line
from calligram.eval.page.metrics import SHARE
from calligram.eval.report_parts import Chart, Charts, Dot, Strip

MOST_STRIPS = 7  # of a chart; more are spread over several


def charts(grid: Grid, model_names: Sequence[str]) -> Charts | None:
    """Shares together on one axis, whatever else on one of its own; nothing that is a mere count."""
    drawn = [line for line in grid.lines if _is_measured(line)]
    shares = [_strip(line, model_names) for line in drawn if line.metric.unit == SHARE]
    found = [Chart("", strips, (0.0, 1.0)) for strips in spread(shares, MOST_STRIPS)]
    found += [Chart("", [_strip(line, model_names)]) for line in drawn if line.metric.unit != SHARE]
    return Charts("", model_names, found) if found else None


def spread(strips: Sequence[Strip], most: int) -> Iterator[Sequence[Strip]]:
    """In their order in as few groups as hold them, and these as even as can be."""
    groups = math.ceil(len(strips) / most)
    for i in range(groups):
        yield strips[len(strips) * i // groups : len(strips) * (i + 1) // groups]


def _is_measured(line: Line) -> bool:
    rows = line.rows.values()
    has_value = any(is_number(row.value) for row in rows)
    return has_value and (line.metric.better is not None or any(map(has_interval, rows)))


def _strip(line: Line, model_names: Sequence[str]) -> Strip:
    dots = [
        Dot(number, row.value, row.low, row.high)
        for number, model in enumerate(model_names)
        if (row := line.rows.get(model)) is not None and row.value is not None and math.isfinite(row.value)
    ]
    return Strip(line.metric.label, dots)
