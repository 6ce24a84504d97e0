"""A page of pictures with what was found about them, written piece by piece: head, a card a picture, tail."""

import base64
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from typing import Any

from calligram.cli.results import NONE_FITS, Result

TEMPLATE = "page.html.j2"
MANY_DIGITS = 0.001  # probabilities below it are shown as less than it


class Page:
    """The three kinds of pieces, as text."""

    @cached_property
    def _pieces(self) -> Any:
        from jinja2 import Environment, StrictUndefined

        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.filters |= {"percent": percent}
        return environment.from_string((files("calligram.cli") / TEMPLATE).read_text(encoding="utf-8")).module

    def head(self, title: str, facts: Sequence[tuple[str, str]]) -> str:
        return str(self._pieces.head(title, facts))

    def card(self, result: Result) -> str:
        """A picture with bars for its labels."""
        rejection = result.rejection
        note = f"{NONE_FITS}, rather: {rejection.word}" if rejection is not None and rejection.none_fits else ""
        return str(self._pieces.card(result.name, data_uri(result.thumbnail), note, result.groups, result.best))

    def hit(self, rank: int, name: str, score: float, thumbnail: bytes | None) -> str:
        """A picture or a text that a search found."""
        return str(self._pieces.hit(rank, name, score, data_uri(thumbnail)))

    def tail(self, num_good: int, num_bad: int, bad: Sequence[Result] = ()) -> str:
        return str(self._pieces.tail(num_good, num_bad, bad))


def data_uri(jpeg: bytes | None) -> str:
    """The picture within a ``src`` attribute; empty for none."""
    return "" if jpeg is None else "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def percent(probability: float) -> str:
    if 0 < probability < MANY_DIGITS:
        return "< 0.1 %"
    return f"{100 * probability:.1f} %"
