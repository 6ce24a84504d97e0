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

Cell = str | int | float | bool | None

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
    """Numbers may come as numbers or as text that the caller has formatted; a bool is shown as a mark."""

    kind: ClassVar[str] = "table"

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    text: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.headers):
                raise ValueError(f"table {self.title!r} has {len(self.headers)} headers, but the row {row!r} does not")


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


Block = Pictures | Gallery | Table | Curves


@dataclass(frozen=True)
class Section:
    """A heading, some text (an empty line starts a new paragraph) and blocks."""

    title: str
    text: str = ""
    blocks: Sequence[Block] = ()


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
