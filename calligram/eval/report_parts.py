"""What a report is made of: facts on top, then sections of pictures, drawn sentences, tables and curves.

Plain data without any looks; ``calligram.eval.report`` turns it into one HTML file. ``good`` is True or False where
something can be right or wrong, which a mark then shows, and None where that does not apply.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from calligram import runs


@dataclass(frozen=True)
class Noted:
    """A cell of a table with a smaller line under it; ``best`` ones are bold, ``link`` is an anchor of the page."""

    text: str
    note: str = ""
    best: bool = False
    link: str = ""

    def __str__(self) -> str:
        return self.text


Cell = str | int | float | bool | Noted | None

# What the metrics of a run are called on paper; another name is shown with its underscores as blanks.
METRIC_LABELS = {
    "lr": "learning rate",
    "psnr_db": "PSNR (dB)",
    "samples_per_s": "samples per second",
    "grad_norm": "gradient norm",
}


@dataclass(frozen=True)
class Fact:
    """A headline number: ``Fact("zero-shot top-1", "0.97", "48 prompts, 360 pictures", good=True)``."""

    name: str
    value: str
    note: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Picture:
    """A picture with a line under it, and a smaller second line where there is more to say."""

    image: Image.Image
    caption: str = ""
    note: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, as many in a row as there is room for."""

    kind: ClassVar[str] = "pictures"

    title: str
    pictures: Sequence[Picture]
    text: str = ""


@dataclass(frozen=True)
class Gallery:
    """A sentence and what was drawn for it: the best picture large, the other candidates small."""

    kind: ClassVar[str] = "gallery"

    prompt: str
    best: Picture
    others: Sequence[Picture] = ()
    text: str = ""


@dataclass(frozen=True)
class Table:
    """Numbers may come as numbers or as text that the caller has formatted; a bool is shown as a mark.

    ``label`` names a table that has no title to those who cannot see where it stands.
    """

    kind: ClassVar[str] = "table"

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    text: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.headers):
                raise ValueError(f"table {self.title!r} has {len(self.headers)} headers, but the row {row!r} does not")


@dataclass(frozen=True)
class Tables:
    """Tables side by side, as far as there is room."""

    kind: ClassVar[str] = "tables"

    title: str
    tables: Sequence[Table]
    text: str = ""


@dataclass(frozen=True)
class Curve:
    """One line in a plot of its own. Values that are not finite leave a gap, with ``log_y`` also those up to 0."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    x_label: str = "step"
    y_label: str = ""
    log_y: bool = False

    def __post_init__(self) -> None:
        if len(self.xs) != len(self.ys):
            raise ValueError(f"curve {self.label!r} has {len(self.xs)} xs, but {len(self.ys)} ys")


@dataclass(frozen=True)
class Curves:
    """Small plots side by side."""

    kind: ClassVar[str] = "curves"

    title: str
    curves: Sequence[Curve]
    text: str = ""


@dataclass(frozen=True)
class Dot:
    """A value with its interval, where it has one, in the colour and the form of a series."""

    series: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Strip:
    """One quantity: a dot for each series that has a value of it."""

    label: str
    dots: Sequence[Dot]


@dataclass(frozen=True)
class Chart:
    """Strips on one axis. Values that are not finite are left out; ``limits`` are those of the quantity."""

    label: str
    strips: Sequence[Strip]
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Charts:
    """Charts side by side, in which a series has the same colour and form throughout."""

    kind: ClassVar[str] = "charts"

    title: str
    series: Sequence[str]
    charts: Sequence[Chart]
    text: str = ""

    @property
    def drawn_series(self) -> list[tuple[int, str]]:
        """Number and name of those that have a dot."""
        drawn = {dot.series for chart in self.charts for strip in chart.strips for dot in strip.dots}
        return [(number, name) for number, name in enumerate(self.series) if number in drawn]


Block = Pictures | Gallery | Table | Tables | Curves | Charts


@dataclass(frozen=True)
class Part:
    """A heading within a section, with an anchor of its own."""

    kind: ClassVar[str] = "part"

    title: str
    anchor: str
    text: str = ""
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Section:
    """A heading, some text (an empty line starts a new paragraph) and blocks. The anchor is made of the title."""

    title: str
    text: str = ""
    blocks: Sequence[Block | Part] = ()
    anchor: str = ""

    @property
    def parts(self) -> list[Part]:
        return [block for block in self.blocks if isinstance(block, Part)]


def curves_of_run(run: Path, names: Sequence[str], log_y: Collection[str] = ()) -> list[Curve]:
    """The named metrics of a run by step: ``curves_of_run(run, ["loss", "lr"], log_y=["loss"])``.

    A metric that the run never wrote gives a curve without points, which the report says in so many words.
    """
    rows = runs.read_metrics(run)
    return [_curve(rows, name, name in log_y) for name in names]


def _curve(rows: list[dict[str, float]], name: str, log_y: bool) -> Curve:
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    label = METRIC_LABELS.get(name, name.replace("_", " "))
    return Curve(label, [x for x, _ in points], [y for _, y in points], log_y=log_y)
