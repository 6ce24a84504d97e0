"""Values with their intervals as inline SVG: a strip for each quantity, a dot with whiskers for each series."""

import io
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from calligram.eval.plots import FONT_SIZE, GRID, ROUND_STEPS, TEXT, WIDTH_INCHES, for_page
from calligram.eval.report_parts import Chart, Dot, Strip

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS_AN_INCH = 72
LABEL, STEP, SPACE, AXIS = 16.0, 10.0, 12.0, 26.0  # heights: of a strip's label, of a dot, below the dots, of the axis
DOT_SIZE = 6.0
LONGEST_LABEL = 52  # characters, as many as fit
LEAST_SPAN = 0.05  # of a quantity with limits, in parts of it: less would make much of little
MARGIN = 0.04

# matplotlib's name of a form, and the form as a path for the legend, within a square from -6 to 6
FORMS = (
    ("o", "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z"),
    ("s", "M-4.5 -4.5h9v9h-9z"),
    ("D", "M0 -6L6 0L0 6L-6 0z"),
    ("^", "M0 -5.5L5.5 5H-5.5z"),
    ("v", "M0 5.5L5.5 -5H-5.5z"),
    ("P", "M-2 -6h4v4h4v4h-4v4h-4v-4h-4v-4h4z"),
    ("X", "M-6 -3L-3 -6L0 -3L3 -6L6 -3L3 0L6 3L3 6L0 3L-3 6L-6 3L-3 0z"),
)
NUM_COLOURS = 6  # no divisor of the number of forms: 42 series look different
SERIES = [f"#0000{16 + i:02x}" for i in range(NUM_COLOURS)]  # stand for the page's colours, as in plots.py
SERIES_COLOURS = {colour: f"var(--series-{i + 1})" for i, colour in enumerate(SERIES)}


def form(series: int) -> str:
    """The path of a series' form."""
    return FORMS[series % len(FORMS)][1]


def finite_strips(chart: Chart) -> list[Strip]:
    """What can be drawn: dots with a value, strips with a dot."""
    strips = [Strip(strip.label, [dot for dot in strip.dots if math.isfinite(dot.value)]) for strip in chart.strips]
    return [strip for strip in strips if strip.dots]


def chart_svg(chart: Chart, series: Sequence[str], name: str) -> str:
    """The chart as an ``<svg>`` element without size; ``name`` keeps its ids apart from those of other plots."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    strips = finite_strips(chart)
    heights = [LABEL + STEP * len(strip.dots) + SPACE for strip in strips]
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": FONT_SIZE,
        "text.parse_math": False,
    }
    with rc_context(settings):
        figure = Figure(figsize=(WIDTH_INCHES, (sum(heights) + AXIS) / UNITS_AN_INCH))
        # the strips' heights are in the drawing's units, so the axes get exactly the room that they add up to
        axes = figure.add_axes((0.015, AXIS / (sum(heights) + AXIS), 0.97, 1 - AXIS / (sum(heights) + AXIS)))
        _style(axes, _limits(strips, chart.limits), sum(heights))
        for i, strip in enumerate(strips):
            _draw(axes, strip, sum(heights[:i]))
        file = io.StringIO()
        with warnings.catch_warnings():
            # only the widths of letters are asked of matplotlib's font: the page has its own
            warnings.filterwarnings("ignore", r"Glyph .* missing")
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return for_page(file.getvalue(), name, describe(chart, series), SERIES_COLOURS)


def describe(chart: Chart, series: Sequence[str]) -> str:
    """What a reader who cannot see the chart has to know."""
    strips = [
        f"{strip.label}: " + ", ".join(f"{series[dot.series]} {dot.value:.3g}" for dot in strip.dots)
        for strip in finite_strips(chart)
    ]
    return "; ".join(filter(None, [chart.label, *strips])) or "no values"


def _draw(axes: "Axes", strip: Strip, top: float) -> None:
    label = strip.label if len(strip.label) <= LONGEST_LABEL else strip.label[: LONGEST_LABEL - 1] + "…"
    axes.text(0, top + 10, label, transform=axes.get_yaxis_transform(), color=TEXT, va="baseline")
    for i, dot in enumerate(strip.dots):
        y = top + LABEL + STEP * (i + 0.5)
        colour = SERIES[dot.series % NUM_COLOURS]
        if (interval := _interval(dot)) is not None:
            axes.plot(interval, [y, y], color=colour, linewidth=1.5, solid_capstyle="butt")
            axes.plot(interval, [y, y], "|", color=colour, markersize=6, markeredgewidth=1.5)
        axes.plot([dot.value], [y], FORMS[dot.series % len(FORMS)][0], color=colour, markersize=DOT_SIZE, clip_on=False)


def _interval(dot: Dot) -> tuple[float, float] | None:
    if dot.low is None or dot.high is None or not (math.isfinite(dot.low) and math.isfinite(dot.high)):
        return None
    return dot.low, dot.high


def _limits(strips: Sequence[Strip], limits: tuple[float, float] | None) -> tuple[float, float]:
    """From the lowest to the highest with some margin; not beyond what the quantity can be."""
    ends = [x for strip in strips for dot in strip.dots for x in (dot.value, *(_interval(dot) or ()))]
    low, high = min(ends), max(ends)
    least = LEAST_SPAN * (limits[1] - limits[0]) if limits else abs(high) * LEAST_SPAN or 1.0
    missing = max(0.0, least - (high - low)) / 2
    low, high = low - missing, high + missing
    margin = MARGIN * (high - low)
    if limits and limits[0] <= min(ends) and max(ends) <= limits[1]:
        return max(low - margin, limits[0] - margin), min(high + margin, limits[1] + margin)
    return low - margin, high + margin


def _style(axes: "Axes", limits: tuple[float, float], height: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(*limits)
    axes.set_ylim(height, 0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.6g}"))
    axes.tick_params(length=0, labelcolor=TEXT, pad=5)
    axes.yaxis.set_visible(False)
    axes.grid(axis="x", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)
