"""Numbers for people: as many digits as the interval leaves sense to, the same number of decimals in a row."""

import math
from collections.abc import Sequence
from statistics import median
from typing import TypeGuard

from calligram.eval.page.schema import Row
from calligram.eval.report import cell_text, column_decimals

MOST_DECIMALS = 6
LARGE = 1e9  # from here on a number is written with an exponent
NOTHING = "–"
LOPSIDED = 0.15  # of an interval's width: where its sides differ by more, both are told


def is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def has_interval(row: Row) -> bool:
    return is_number(row.value) and is_number(row.low) and is_number(row.high)


def decimals_of(rows: Sequence[Row]) -> int:
    """Two digits of the usual half width of their intervals; without intervals four digits of the largest value."""
    bounds = [(row.low, row.high) for row in rows if has_interval(row)]
    halves = [(high - low) / 2 for low, high in bounds if is_number(low) and is_number(high)]
    halves = [half for half in halves if half > 0]
    if halves:
        return min(max(1 - math.floor(math.log10(median(halves))), 0), MOST_DECIMALS)
    return min(column_decimals([abs(row.value) for row in rows if row.value is not None]), MOST_DECIMALS)


def number(value: float | None, decimals: int) -> str:
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.3g}" if abs(value) >= LARGE else str(cell_text(value, decimals))


def bounds(row: Row, decimals: int) -> str:
    """``0.958–0.981``; empty without an interval."""
    if not has_interval(row):
        return ""
    low, high = number(row.low, decimals), number(row.high, decimals)
    return f"{low} to {high}" if "-" in low + high else f"{low}–{high}"


def with_interval(row: Row, decimals: int) -> str:
    """``0.970 ± 0.012``, or where the interval reaches much further to one side ``0.998 +0.001 −0.004``."""
    value = number(row.value, decimals)
    if not has_interval(row):
        return value
    assert row.value is not None
    assert row.low is not None
    assert row.high is not None
    up, down = row.high - row.value, row.value - row.low
    if abs(up - down) <= LOPSIDED * (up + down):
        return f"{value} ± {number((up + down) / 2, decimals)}"
    return f"{value} +{number(up, decimals)} −{number(down, decimals)}"


def counts(rows: Sequence[Row]) -> str:
    """``1,000``, or ``300–1,000`` where the models were asked about different numbers of samples."""
    found = sorted({row.count for row in rows if row.count is not None})
    return "–".join(f"{count:,}" for count in [*found[:1], *found[1:][-1:]])
