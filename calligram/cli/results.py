"""What ``calligram classify`` found out about a picture, and how it is shown on stdout."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from calligram.cli.console import say
from calligram.cli.table import bar, print_table, shorten
from calligram.errors import UserError

PATH_WIDTH, BAR_WIDTH = 28, 20  # columns of the table
ROWS_AT_ONCE = 1000  # results of a table, whose columns are as wide as these need
TOLD = 1000  # unreadable pictures that are named; the others are counted
NONE_FITS = "none of these"

Best = tuple[tuple[str, float], ...]  # labels and their probabilities, the most probable first


@dataclass(frozen=True)
class Rejection:
    """The nearest word of the background, and how near it and the nearest label are (cosines)."""

    word: str
    similarity: float
    label_similarity: float

    @property
    def none_fits(self) -> bool:
        return self.similarity > self.label_similarity


@dataclass(frozen=True)
class Result:
    """The best labels of a picture with their probabilities, or what is wrong with it."""

    name: str
    best: Best = ()
    groups: Best = ()
    rejection: Rejection | None = None
    problem: str | None = None
    thumbnail: bytes | None = None  # JPEG

    def as_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"picture": self.name}
        if self.problem is not None:
            return row | {"error": self.problem}
        row["labels"] = _as_json(self.best)
        if self.groups:
            row["groups"] = _as_json(self.groups)
        if self.rejection is not None:
            row["none_of_these"] = self.rejection.none_fits
            row["similarity"] = self.rejection.label_similarity
            row["background"] = {"label": self.rejection.word, "similarity": self.rejection.similarity}
        return row


def pack(results: Sequence[Result]) -> bytes:
    """For another process, which reads it by :func:`unpack`."""
    rows = [vars(result) | {"thumbnail": _text(result.thumbnail)} for result in results]
    return json.dumps(rows, default=vars).encode("ascii")  # a rejection is the only object within


def unpack(data: bytes) -> list[Result]:
    return [_result(**row) for row in json.loads(data)]


def _text(thumbnail: bytes | None) -> str | None:
    return None if thumbnail is None else base64.b64encode(thumbnail).decode("ascii")


def _result(best: list, groups: list, rejection: dict | None, thumbnail: str | None, **others: Any) -> Result:
    return Result(
        best=tuple((label, probability) for label, probability in best),
        groups=tuple((name, probability) for name, probability in groups),
        rejection=None if rejection is None else Rejection(**rejection),
        thumbnail=None if thumbnail is None else base64.b64decode(thumbnail),
        **others,
    )


class Writer(Protocol):
    """Where results go, one by one."""

    def add(self, result: Result) -> None: ...

    def close(self) -> None:
        """All has been added."""

    def abandon(self) -> None:
        """Not all has been added, and nothing more will be."""


class Tables:
    """On stdout for a person; where there are very many, a table every thousand."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def add(self, result: Result) -> None:
        if result.problem is None:
            self.results.append(result)
        if len(self.results) == ROWS_AT_ONCE:
            self.close()

    def close(self) -> None:
        if self.results:
            rows = [row for result in self.results for row in table_rows(result)]
            print_table(["picture", "label", "probability", ""], rows, right=[2], squeeze=1)
        self.results = []

    def abandon(self) -> None:
        self.close()


class JsonLines:
    """On stdout for a program, a line a picture."""

    def add(self, result: Result) -> None:
        print(json.dumps(result.as_json(), ensure_ascii=False), flush=True)

    def close(self) -> None:
        """Nothing is held."""

    abandon = close


class Outcome:
    """Hands results on and counts. Those before the first that could be read wait for it."""

    def __init__(self, writers: Sequence[Writer]):
        self.writers = writers
        self.num_good = self.num_bad = 0
        self.bad: list[Result] = []
        self._waiting: list[Result] = []

    def add(self, result: Result) -> None:
        if result.problem is not None:
            self.num_bad += 1
            if len(self.bad) < TOLD:
                self.bad.append(result)
            if not self.num_good:
                self._waiting.append(result)
                return
        else:
            self.num_good += 1
        for one in [*self._waiting, result]:
            for writer in self.writers:
                writer.add(one)
        self._waiting = []

    def close(self) -> None:
        """Tells what could not be read. Raises UserError where there is nothing else, or nothing at all."""
        if not self.num_good:
            raise UserError(nothing_readable([(bad.name, bad.problem or "") for bad in self.bad], self.num_bad))
        tell_unreadable([(bad.name, bad.problem or "") for bad in self.bad], self.num_bad, self.num_good)
        for writer in self.writers:
            writer.close()


def nothing_readable(bad: Sequence[tuple[str, str]], count: int) -> str:
    if not bad:
        return "there are no pictures: give files, folders, or a list with a path a line"
    name, problem = bad[0]
    return f"cannot read {name}{f' and {count - 1} more' if count > 1 else ''}: {problem}"


def tell_unreadable(bad: Sequence[tuple[str, str]], num_bad: int, num_good: int, told: Callable = say) -> None:
    """A line for each on stderr, and their number."""
    for name, problem in bad:
        told(f"calligram: {name}: {problem}")
    if num_bad:
        told(f"calligram: {num_bad} of {num_bad + num_good} pictures could not be read")


def table_rows(result: Result) -> list[tuple[str, str, str, str]]:
    """Lines of the table: a group ends in a slash, as a folder does."""
    lines = [(f"{name}/", probability) for name, probability in result.groups] + list(result.best)
    rows = [(label, f"{probability:.3f}", bar(probability, BAR_WIDTH)) for label, probability in lines]
    if result.rejection is not None and result.rejection.none_fits:
        rows.insert(0, (f"{NONE_FITS}, rather: {result.rejection.word}", "", ""))
    name = shorten(result.name, PATH_WIDTH)
    return [("" if number else name, *row) for number, row in enumerate(rows)]


def _as_json(best: Best) -> list[dict[str, Any]]:
    return [{"label": label, "probability": probability} for label, probability in best]
