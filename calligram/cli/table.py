"""Tables and little drawings on stdout, as wide as the terminal; 80 columns where there is none."""

import math
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise

EIGHTHS = " ▏▎▍▌▋▊▉█"  # of a cell, from the left
LEVELS = "▁▂▃▄▅▆▇█"
LEAST_WIDTH = 8  # of a column that gives way


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), squeeze: int = 0
) -> None:
    """Columns two spaces apart; those numbered in ``right`` are aligned there.

    Where the terminal is too narrow the column ``squeeze`` gives way, its cells ending in "…".
    """
    from rich.cells import cell_len  # letters of some scripts, and emoji, are two cells wide

    widths = [max(map(cell_len, column)) for column in zip(headers, *rows, strict=True)]
    others = sum(widths) - widths[squeeze] + 2 * (len(widths) - 1)
    widths[squeeze] = min(widths[squeeze], max(shutil.get_terminal_size().columns - others, LEAST_WIDTH))
    for row in [headers, *rows]:
        cells = [
            _fit(text, width, number in right) for number, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def _fit(text: str, width: int, right: bool) -> str:
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > width:
        text = set_cell_size(text, width - 1) + "…"
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def print_list(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and what is to be said about each, wrapped beside its name."""
    pairs = list(pairs)
    indent = max((len(name) for name, _ in pairs), default=0) + 4
    wrapper = textwrap.TextWrapper(
        width=max(shutil.get_terminal_size().columns, indent + 20),
        subsequent_indent=" " * indent,
        break_long_words=False,  # a path is to be copied whole
        break_on_hyphens=False,
    )
    for name, text in pairs:
        wrapper.initial_indent = f"  {name}".ljust(indent)
        print(wrapper.fill(text or "-"))


def bar(share: float, width: int) -> str:
    """``bar(0.5, 4)`` is two cells of four, to an eighth of a cell."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve in one line: the means of ``width`` stretches of the values, lowest to highest on eight levels."""
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return ""
    count = min(width, len(values))
    edges = [len(values) * i // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(LEVELS[round((mean - low) / span * 7) if span else 0] for mean in means)


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 100_000 else f"{num_bytes / 1e3:.1f} kB"


def shorten(text: str, width: int) -> str:
    """The end of a long path says more than its beginning: ``…/cats/0001.png``."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
