"""A curve as inline SVG that takes the colours and the font of the page it stands in."""

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from calligram.eval.report_parts import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_INCHES, HEIGHT_INCHES = 4.6, 2.7  # at SVG's 72 units an inch: 331 wide, what a phone shows one to one
FONT_SIZE = 10.5
ROUND_STEPS = [1, 2, 2.5, 5, 10]

Point = tuple[float, float]

# matplotlib knows no CSS variables: colours that nothing else has stand for them until the SVG is written
LINE, TEXT, GRID = "#000001", "#000002", "#000003"
CSS_COLOURS = {LINE: "var(--accent)", TEXT: "var(--muted)", GRID: "var(--line)"}


def finite_points(curve: Curve) -> list[Point]:
    """Points with NaN for y where nothing can be drawn; empty where that is so everywhere."""
    points = [(float(x), _drawable(float(y), curve.log_y)) for x, y in zip(curve.xs, curve.ys, strict=True)]
    points = [point for point in points if math.isfinite(point[0])]
    return points if any(not math.isnan(y) for _, y in points) else []


def _drawable(y: float, log_y: bool) -> float:
    return y if math.isfinite(y) and (y > 0 or not log_y) else math.nan


def curve_svg(curve: Curve, name: str) -> str:
    """The curve as an ``<svg>`` element without size; ``name`` keeps its ids apart from those of other plots."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # text stays text, so that it can be searched, read aloud and set in the page's font; same curve, same ids
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": FONT_SIZE}):
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
        axes = figure.add_subplot()
        _draw_line(axes, curve)
        _style(axes, curve)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return for_page(file.getvalue(), name, f"{curve.label}: {describe(curve)}")


def describe(curve: Curve) -> str:
    """What a reader who cannot see the plot has to know."""
    points = [point for point in finite_points(curve) if not _is_gap(point)]
    if not points:
        return "no values"
    (first_x, first_y), (last_x, last_y) = points[0], points[-1]
    return f"{first_y:.3g} at {curve.x_label} {first_x:g}, {last_y:.3g} at {curve.x_label} {last_x:g}"


def _draw_line(axes: "Axes", curve: Curve) -> None:
    points = finite_points(curve)
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if curve.log_y and points:
        axes.set_yscale("log")
    axes.plot(xs, ys, color=LINE, linewidth=1.6, solid_joinstyle="round", solid_capstyle="round")
    dots = _dots(points)
    axes.plot([x for x, _ in dots], [y for _, y in dots], "o", color=LINE, markersize=4.5, clip_on=False)


def _dots(points: list[Point]) -> list[Point]:
    """Where the curve ends, and points between two gaps, through which no line passes."""
    gap = (math.nan, math.nan)
    neighbours = zip([gap, *points], points, [*points[1:], gap], strict=False)
    alone = [point for before, point, after in neighbours if _is_gap(before) and _is_gap(after)]
    return [point for point in dict.fromkeys([*alone, *points[-1:]]) if not _is_gap(point)]


def _is_gap(point: Point) -> bool:
    return math.isnan(point[1])


def _style(axes: "Axes", curve: Curve) -> None:
    from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND_STEPS))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(_y_locator(axes))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.tick_params(length=0, labelcolor=TEXT, pad=5)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)
    # a dollar sign in a label is no formula
    axes.set_xlabel(curve.x_label, color=TEXT, loc="right", parse_math=False)
    axes.set_title(curve.y_label, color=TEXT, loc="left", fontsize=FONT_SIZE, parse_math=False)


def _y_locator(axes: "Axes"):
    """Round steps; on a log axis powers of ten where there are two or more, else 1, 2, 5."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if axes.get_yscale() != "log":
        return MaxNLocator(5, steps=ROUND_STEPS)
    low, high = axes.get_ylim()
    decades = math.floor(math.log10(high)) - math.ceil(math.log10(low)) + 1
    if decades >= 2:
        return LogLocator(numticks=6)
    return LogLocator(subs=(1, 2, 5)) if high / low > 4 else MaxNLocator(5, steps=ROUND_STEPS)


def for_page(svg: str, name: str, label: str, more_colours: Mapping[str, str] | None = None) -> str:
    """The drawing alone, as a part of an HTML page: no namespaces, page colours, the page's font, ids of its own."""
    root = ElementTree.fromstring(svg)
    colours = {**CSS_COLOURS, **(more_colours or {})}
    for parent in list(root.iter()):
        parent.tag = parent.tag.rpartition("}")[2]
        parent.attrib = {_plain(key): _own(_plain(key), value, name, colours) for key, value in parent.attrib.items()}
        if parent.tag == "g":
            parent.attrib.pop("id", None)  # nothing refers to a group
        for child in [child for child in parent if child.tag.endswith(("}metadata", "}style"))]:
            parent.remove(child)  # its style sheet would reach beyond the drawing
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {"class": "plot", "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _plain(key: str) -> str:
    return key.rpartition("}")[2]  # xlink:href is plain href in HTML


def _own(key: str, value: str, name: str, colours: Mapping[str, str]) -> str:
    """An attribute's value with the page's colours and with ids that no other plot has."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    if key == "style":
        kept = [part for part in value.split("; ") if not part.startswith(("font-family", "font:"))]
        value = "; ".join(kept)
    for colour, variable in colours.items():
        value = value.replace(colour, variable)
    return value.replace("url(#", f"url(#{name}-")
