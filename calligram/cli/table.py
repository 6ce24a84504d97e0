"""Tables and little drawings on stdout, as wide as the terminal; 80 columns where there is none."""

import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise

EIGHTHS = " ▏▎▍▌▋▊▉█"  # of a cell, from the left
LEVELS = "▁▂▃▄▅▆▇█"


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), squeeze: int = 0
) -> None:
    """Columns two spaces apart; those numbered in ``right`` are aligned there.

    Where the terminal is too narrow the column ``squeeze`` gives way, its cells ending in "…".
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, header in enumerate(headers):
        width = max(cell_len(row[number]) for row in [headers, *rows])
        table.add_column(
            header,
            justify="right" if number in right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if number == squeeze else width,
        )
    for row in rows:
        table.add_row(*map(Text, row))  # Text: square brackets in a label are no markup
    Console(file=sys.stdout, highlight=False).print(table)


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
