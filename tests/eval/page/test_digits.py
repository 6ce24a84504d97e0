"""Digits that the interval gives sense to; bold for the best, as far as the digits tell."""

import math

import pytest

from calligram.eval.page.digits import bounds, counts, decimals_of, number, with_interval
from calligram.eval.page.grid import Line
from calligram.eval.page.metrics import describe
from calligram.eval.page.schema import Row
from tests.eval.page.example import row


def figure(value, low=None, high=None, count=None) -> Row:
    return Row(**row(value=value, low=low, high=high, count=count))


@pytest.mark.parametrize(
    ("rows", "texts"),
    [
        ([figure(0.97123, 0.9583, 0.9817)], ["0.971 ± 0.012"]),
        ([figure(28.4312, 28.1, 28.76), figure(9.1)], ["28.43 ± 0.33", "9.10"]),
        ([figure(0.998, 0.991, 0.999)], ["0.9980 +0.0010 −0.0070"]),
        ([figure(-0.0004, -0.0012, 0.0004)], ["-0.00040 ± 0.00080"]),
        ([figure(41.2, 30.0, 52.4)], ["41 ± 11"]),
        ([figure(1000.0), figure(300.0)], ["1,000", "300"]),
        ([figure(0.5), figure(0.125)], ["0.500", "0.125"]),
        ([figure(1.0, 1.0, 1.0)], ["1 ± 0"]),
        ([figure(math.nan, 0.1, 0.2), figure(None), figure(math.inf), figure(0.25)], ["–", "–", "–", "0.25"]),
        ([figure(2.5e12)], ["2.5e+12"]),
        ([figure(3e-9, 2e-9, 4e-9)], ["3.0e-09 ± 1.0e-09"]),
    ],
)
def test_values_with_intervals(rows, texts):
    assert [with_interval(each, decimals_of(rows)) for each in rows] == texts


def test_bounds():
    assert bounds(figure(0.97, 0.958, 0.981), 3) == "0.958–0.981"
    assert bounds(figure(0.0, -0.5, 0.5), 1) == "-0.5 to 0.5"
    assert bounds(figure(0.97), 3) == bounds(figure(0.97, 0.9), 3) == bounds(figure(math.nan, 0, 1), 3) == ""
    assert number(None, 3) == "–"


def test_counts():
    rows = [figure(1, count=count) for count in (1000, 300, None, 500)]
    assert [counts(rows), counts(rows[:1]), counts(rows[2:3])] == ["300–1,000", "1,000", ""]


def line(metric: str, **values: float | None) -> Line:
    return Line("t", describe(metric), {model: figure(value, 0.0, 0.9) for model, value in values.items()})


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("a.b.top1", {"a": 0.5, "b": 0.75, "c": math.nan}, {"b"}),
        ("a.b.fid_x", {"a": 0.5, "b": 0.75, "c": None}, {"a"}),
        ("a.b.top1", {"a": 0.7512, "b": 0.7489, "c": 0.1}, {"a", "b"}),  # both 0.75
        ("a.b.top1", {"a": 0.751, "b": 0.749}, set()),
        ("a.b.never_heard_of", {"a": 0.5, "b": 0.75}, set()),
        ("a.b.top1", {"a": 0.5}, set()),
        ("a.b.top1", {"a": 0.5, "b": math.inf}, set()),
    ],
)
def test_the_best_of_a_row(metric, values, best):
    assert line(metric, **values).best == best
