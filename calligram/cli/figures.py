"""Figures of an evaluation for the terminal: one line each, with the interval where there is one."""

from itertools import groupby
from typing import Any

from calligram.cli.table import print_table

HEADERS = ("metric", "value", "95 % interval", "samples")


def print_figures(rows: list[dict[str, Any]]) -> None:
    """A table for each model and data set, under their names where there are several."""
    groups = [(key, list(group)) for key, group in groupby(rows, key=lambda row: (row["model"], row["data"]))]
    for number, ((model, data), group) in enumerate(groups):
        if len(groups) > 1:
            print(f"{'' if number == 0 else chr(10)}{model}, {data}")
        print_table(HEADERS, [_cells(row) for row in group], right=(1, 2, 3))


def _cells(row: dict[str, Any]) -> list[str]:
    interval = "" if row["low"] is None or row["high"] is None else f"{_text(row['low'])} to {_text(row['high'])}"
    count = "" if row["count"] is None else str(row["count"])
    return [row["metric"], _text(row["value"]), interval, count]


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) >= 2 else f"{value:.4f}"
