"""Writes a report: one HTML file that carries its pictures and plots and opens from disk, without a network."""

import base64
import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from numbers import Integral, Real
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from calligram.errors import UserError
from calligram.eval.plots import curve_svg, finite_points
from calligram.eval.report_parts import Cell, Chart, Curve, Fact, Noted, Pictures, Section, Table
from calligram.eval.whiskers import NUM_COLOURS, chart_svg, finite_strips, form

TEMPLATE = "report.html.j2"
MAX_SIDE = 640  # pixels; a larger picture is shrunk, since it is never shown larger and would make the file heavy
WIDE_SIDE, MAX_WIDE_SIDE = 256, 1040  # pixels; above the first it gets more room: up to the page's width, the second
PIXEL_ART_SIDE = 128  # pixels; up to here a picture is enlarged with hard edges, so that each pixel can be seen
FEW_PICTURES = 10  # up to here they are shown larger
PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}
NUMBER = re.compile(r"[-−+±<>≈]?\s?\d[\d.,\s]*(e[-+]?\d+)?\s?(%|×|[a-zA-Zµ/]{1,4})?(\s?±\s?[\d.]+)?")
MARKS = ("mark-good", "mark-poor")  # ids of the template's own
NOTHING = ("", "–", "-", "nan")  # cells that leave a column of numbers one


def write_report(
    path: Path,
    title: str,
    intro: str,
    facts: Sequence[Fact],
    sections: Sequence[Section],
    footer_facts: Mapping[str, str],
) -> None:
    """Write the report to ``path``, whose old content stands until the new one is complete.

    ``footer_facts``: what the report was made with and how, such as versions, the command and the time.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file for the report, such as {path / 'report.html'}")
    html = render(title, intro, facts, sections, footer_facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_text(html, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def render(
    title: str, intro: str, facts: Sequence[Fact], sections: Sequence[Section], footer_facts: Mapping[str, str]
) -> str:
    """The report as text."""
    template = _environment().from_string((files("calligram.eval") / TEMPLATE).read_text(encoding="utf-8"))
    anchors = list(unique_anchors(section.anchor or section.title for section in sections))
    return template.render(
        title=title,
        intro=intro,
        facts=facts,
        sections=list(zip(anchors, sections, strict=True)),
        contents=[(anchor, section.title) for anchor, section in zip(anchors, sections, strict=True)],
        footer_facts=footer_facts,
        few_pictures=FEW_PICTURES,
        max_wide_side=MAX_WIDE_SIDE,
        plot=Plots(),
        num_colours=NUM_COLOURS,
    )


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "data_uri": data_uri,
        "is_pixel_art": lambda image: max(image.size) <= PIXEL_ART_SIDE,
        "are_wide": are_wide,
        "is_noted": lambda cell: isinstance(cell, Noted),
        "form": form,
        "zip": zip,
        "breakable": breakable,
        "paragraphs": paragraphs,
        "columns": table_columns,
        "tiles_in_a_row": tiles_in_a_row,
        "last_value": last_value,
    }
    return environment


class Plots:
    """Draws curves and charts for one page: counts them, since no two may share an id."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, curve: Curve) -> Markup:
        """SVG, or nothing where no point can be drawn."""
        self.count += 1
        return Markup(curve_svg(curve, f"plot-{self.count}") if finite_points(curve) else "")

    def chart(self, chart: Chart, series: Sequence[str]) -> Markup:
        self.count += 1
        return Markup(chart_svg(chart, series, f"plot-{self.count}") if finite_strips(chart) else "")


def are_wide(block: Pictures) -> bool:
    """Whether there is more in the pictures than a small tile could show."""
    return any(max(picture.image.size) > WIDE_SIDE for picture in block.pictures)


def data_uri(image: Image.Image, max_side: int = MAX_SIDE) -> str:
    """The picture as PNG within a ``src`` attribute."""
    if image.mode not in PNG_MODES:
        image = image.convert("RGB")
    if max(image.size) > max_side:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        image.thumbnail((max_side, max_side))
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def breakable(text: str) -> Markup:
    """A dotted name may go on in the next line after each of its pieces."""
    return Markup(re.sub(r"([._])(?=[A-Za-z])", r"\1<wbr>", str(escape(text))))


def unique_anchors(titles: Iterable[str]) -> Iterator[str]:
    """``Zero-shot: top 1`` → ``zero-shot-top-1``; a second one of that title gets ``-2``."""
    seen: set[str] = set(MARKS)
    for title in titles:
        base = "-".join(re.findall(r"[\w-]+", title.lower())) or "section"
        anchor, count = base, 1
        while anchor in seen:
            count += 1
            anchor = f"{base}-{count}"
        seen.add(anchor)
        yield anchor


def tiles_in_a_row(count: int) -> int:
    """3 to 5, so that as few places as possible stay empty in the last row."""
    return min((5, 4, 3), key=lambda width: -count % width)


def table_columns(table: Table) -> list[tuple[bool, list[Cell]]]:
    """Each column as (holds numbers, its cells as text; a bool stays one, for it becomes a mark)."""
    columns = [[row[index] for row in table.rows] for index in range(len(table.headers))]
    return [(holds_numbers(column), list(column_texts(column))) for column in columns]


def holds_numbers(column: Sequence[Cell]) -> bool:
    telling = [cell for cell in column if cell is not None and str(cell).strip().lower() not in NOTHING]
    return bool(telling) and all(_is_number(cell) for cell in telling)


def _is_number(cell: Cell) -> bool:
    if isinstance(cell, str | Noted):
        return NUMBER.fullmatch(str(cell).strip()) is not None
    return isinstance(cell, Real) and not isinstance(cell, bool)


def column_texts(column: Sequence[Cell]) -> Iterator[Cell]:
    """Numbers with the same decimals throughout, so that the points are in line."""
    decimals = column_decimals([abs(float(x)) for x in column if isinstance(x, Real) and not isinstance(x, Integral)])
    for cell in column:
        yield cell_text(cell, decimals)


def column_decimals(values: Sequence[float]) -> int:
    """Three for a largest number near 1, fewer above it, more below 0.1, and none that would all be zero."""
    finite = [x for x in values if math.isfinite(x)]
    largest = max(finite, default=0)
    if largest == 0:
        return 0
    magnitude = math.floor(math.log10(largest))
    decimals = max(0, 3 - magnitude) if magnitude >= 0 else 2 - magnitude
    return max(len(f"{x:.{decimals}f}".rstrip("0").partition(".")[2]) for x in finite)


def cell_text(cell: Cell, decimals: int) -> Cell:
    if isinstance(cell, bool | str | Noted):
        return cell
    if cell is None or not math.isfinite(cell):
        return "–"
    if isinstance(cell, Integral):
        return f"{cell:,}"
    if 0 < abs(cell) < 0.5 * 10**-decimals:
        return f"{cell:.1e}"  # too small beside the others, and yet no zero
    return f"{cell:,.{decimals}f}"


def last_value(curve: Curve) -> str:
    """Where the curve ended, also if that is nowhere: ``nan``."""
    return f"{curve.ys[-1]:.4g}" if len(curve.ys) else "–"
