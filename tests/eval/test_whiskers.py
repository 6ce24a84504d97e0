"""Dots with whiskers: each where its value is, whiskers where there is an interval, nothing for what is no number."""

import math
import re

import pytest

from calligram.eval.report_parts import Chart, Charts, Dot, Strip
from calligram.eval.whiskers import FORMS, NUM_COLOURS, chart_svg, finite_strips


def svg(*dots: Dot, label: str = "top-1", limits=(0.0, 1.0)) -> str:
    return chart_svg(Chart("", [Strip(label, dots)], limits), ["a", "b", "c"], "plot-1")


def whiskers(drawing: str) -> list[tuple[float, float]]:
    """Where the lines of intervals begin and end, in the drawing's units."""
    lines = re.findall(r'<path d="M ([\d.]+) ([\d.]+)\s+L ([\d.]+) ([\d.]+)\s*"[^>]*stroke: var\(--series', drawing)
    return [(float(x0), float(x1)) for x0, y0, x1, y1 in lines if y0 == y1]


def dots(drawing: str) -> list[tuple[str, float]]:
    """Series colour and place of every dot; those of whisker ends are lines and have no filling."""
    return [
        (colour, float(x))
        for x, colour in re.findall(r'<use [^>]*x="([\d.]+)"[^>]*fill: var\((--series-\d)\)', drawing)
    ]


def test_a_dot_stands_between_the_ends_of_its_whiskers():
    drawing = svg(Dot(0, 0.5, 0.4, 0.7), Dot(2, 0.9))
    ((low, high),) = whiskers(drawing)
    (_, first), (_, second) = places = [place for place in dots(drawing) if place[1] not in (low, high)]
    assert [colour for colour, _ in places] == ["--series-1", "--series-3"]
    assert (first - low) / (high - low) == pytest.approx(1 / 3, abs=0.01)
    assert (second - first) / (high - low) == pytest.approx(4 / 3, abs=0.01)


def test_what_is_no_number_is_left_out():
    chart = Chart("", [Strip("a", [Dot(0, math.nan, 0, 1)]), Strip("b", [Dot(0, 1.0, math.nan, 2), Dot(1, math.inf)])])
    assert finite_strips(chart) == [Strip("b", [Dot(0, 1.0, math.nan, 2)])]
    assert whiskers(chart_svg(chart, ["a", "b"], "plot")) == []


def test_a_small_difference_is_not_blown_up():
    a, b = (x for _, x in dots(svg(Dot(0, 0.5), Dot(1, 0.501))))
    assert abs(a - b) < 10  # of 331


def test_colours_are_the_pages_and_text_is_text():
    drawing = svg(Dot(0, 0.5, 0.4, 0.7), label="<b> $5$ & 猫")
    assert not re.search(r"#0000(0|1)\d", drawing)
    assert "&lt;b&gt; $5$ &amp; 猫" in drawing
    assert 'aria-label="&lt;b&gt; $5$ &amp; 猫: a 0.5"' in drawing


def test_many_series_look_different():
    assert len({(i % len(FORMS), i % NUM_COLOURS) for i in range(42)}) == 42


def test_the_legend_names_those_that_are_drawn():
    charts = Charts("", ["a", "b", "c"], [Chart("", [Strip("x", [Dot(2, 1.0)]), Strip("y", [Dot(0, 1.0)])])])
    assert charts.drawn_series == [(0, "a"), (2, "c")]
