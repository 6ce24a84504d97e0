"""The rows of the results as tables: for each data set and task metrics down, models across."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from calligram.eval.page.digits import bounds, counts, decimals_of, is_number, number, with_interval
from calligram.eval.page.metrics import Metric, describe
from calligram.eval.page.schema import Cell, Results, Row


@dataclass(frozen=True)
class Line:
    """One metric of one task, by model."""

    task: str
    metric: Metric
    rows: dict[str, Row]

    @cached_property
    def decimals(self) -> int:
        return decimals_of(list(self.rows.values()))

    @property
    def count(self) -> str:
        return counts(list(self.rows.values()))

    def value(self, model: str) -> str:
        return number(self.rows[model].value, self.decimals) if model in self.rows else ""

    def bounds(self, model: str) -> str:
        return bounds(self.rows[model], self.decimals) if model in self.rows else ""

    def with_interval(self, model: str) -> str:
        return with_interval(self.rows[model], self.decimals) if model in self.rows else ""

    @cached_property
    def best(self) -> set[str]:
        """The models that come out best, as far as the digits tell; none where there is nothing to win."""
        values = {
            model: row.value for model, row in self.rows.items() if row.value is not None and is_number(row.value)
        }
        if self.metric.better is None or len(values) < 2:
            return set()
        winner = (max if self.metric.better == "higher" else min)(values, key=lambda model: values[model])
        best = {model for model in values if self.value(model) == self.value(winner)}
        return best if len(best) < len(values) else set()


@dataclass(frozen=True)
class Grid:
    """One task on one data set."""

    data: str
    task: str
    models: Sequence[str]  # those that have a figure
    lines: Sequence[Line]
    cells: Sequence[Cell]

    @property
    def headline(self) -> Line | None:
        """The first metric that has a direction, which tasks name first for that reason."""
        return next((line for line in self.lines if line.metric.better), next(iter(self.lines), None))

    @property
    def failed(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.status == "failed"]


def grids(results: Results) -> list[Grid]:
    """Those with anything to tell: tasks that were skipped for every model are left out."""
    found = [_grid(results, data, task) for data in results.data_names for task in results.task_names]
    return [grid for grid in found if grid.lines or grid.failed or any(cell.pictures for cell in grid.cells)]


def _grid(results: Results, data: str, task: str) -> Grid:
    by_metric: dict[str, dict[str, Row]] = {}
    for row in results.rows:
        if (row.data, row.task) == (data, task):
            by_metric.setdefault(row.metric, {})[row.model] = row
    measured = {model for rows in by_metric.values() for model in rows}
    return Grid(
        data,
        task,
        [model for model in results.model_names if model in measured],
        [Line(task, describe(name), rows) for name, rows in by_metric.items()],
        [cell for cell in results.cells if (cell.data, cell.task) == (data, task)],
    )
