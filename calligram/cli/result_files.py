"""Results in a file: a table for a spreadsheet, lines of JSON, or a page to look at. Written as they come."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from calligram.cli.console import say
from calligram.cli.find import check_output
from calligram.cli.page import Page
from calligram.cli.results import TOLD, Result, Writer
from calligram.errors import UserError

SUFFIXES = (".csv", ".jsonl", ".html")


class ResultFile:
    """Written aside, and renamed once it is complete; what is there of one that is given up stays aside."""

    def __init__(self, path: Path):
        self.path = path
        self.aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            # newline="": the csv module ends lines itself
            self.file: TextIO = self.aside.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise UserError(f"--out {path} cannot be written ({error.strerror}): choose another place") from None

    def close(self) -> None:
        self.file.close()
        self.aside.replace(self.path)

    def abandon(self) -> None:
        self.file.close()
        if self.aside.stat().st_size:
            say(f"what was done so far lies in {self.aside}")
        else:
            self.aside.unlink()


class CsvFile(ResultFile):
    """A row a picture: what is wrong with it, or its labels from the most probable on."""

    def __init__(self, path: Path, top_k: int, columns: Sequence[str]):
        super().__init__(path)
        numbered = [f"{name} {rank}" for rank in range(1, top_k + 1) for name in ("label", "probability")]
        self.rows = csv.writer(self.file, lineterminator="\n")
        self.columns = columns
        self.width = top_k
        self.header = ["picture", "error", *numbered, *columns]
        self.started = False

    def add(self, result: Result) -> None:
        if not self.started:
            self.rows.writerow(self.header)
            self.started = True
        best = [value for pair in result.best for value in (pair[0], f"{pair[1]:.6g}")]
        best += [""] * (2 * self.width - len(best))
        extra = _extra(result)
        self.rows.writerow([result.name, result.problem or "", *best, *(extra.get(name, "") for name in self.columns)])


class JsonFile(ResultFile):
    """The lines that ``--json`` prints."""

    def add(self, result: Result) -> None:
        self.file.write(json.dumps(result.as_json(), ensure_ascii=False) + "\n")


class HtmlFile(ResultFile):
    """One page that carries its thumbnails; what could not be read stands at its end."""

    def __init__(self, path: Path, title: str, facts: Sequence[tuple[str, str]]):
        super().__init__(path)
        self.page = Page()
        self.head: dict[str, Any] = {"title": title, "facts": facts}
        self.bad: list[Result] = []
        self.num_good = self.num_bad = 0

    def add(self, result: Result) -> None:
        if not self.num_good + self.num_bad:
            self.file.write(self.page.head(**self.head))
        if result.problem is not None:
            self.num_bad += 1
            if len(self.bad) < TOLD:
                self.bad.append(result)
            return
        self.num_good += 1
        self.file.write(self.page.card(result))

    def close(self) -> None:
        self.file.write(self.page.tail(num_good=self.num_good, num_bad=self.num_bad, bad=self.bad))
        super().close()


def open_file(path: Path, top_k: int, columns: Sequence[str], title: str, facts: Sequence[tuple[str, str]]) -> Writer:
    """The file that the ending asks for; :func:`check_result_file` first."""
    match path.suffix.lower():
        case ".csv":
            return CsvFile(path, top_k, columns)
        case ".jsonl":
            return JsonFile(path)
        case _:
            return HtmlFile(path, title, facts)


def check_result_file(path: Path | None) -> None:
    """Before any work is spent on it."""
    if path is not None:
        check_output(path, "--out", SUFFIXES)


def columns_for(has_groups: bool, has_background: bool) -> list[str]:
    """What a CSV has beside the labels."""
    groups = ["group", "group probability"] if has_groups else []
    return groups + (["none of these", "background", "background similarity"] if has_background else [])


def _extra(result: Result) -> dict[str, str]:
    found: dict[str, str] = {}
    if result.groups:
        name, probability = result.groups[0]
        found |= {"group": name, "group probability": f"{probability:.6g}"}
    if result.rejection is not None:
        found["none of these"] = "yes" if result.rejection.none_fits else "no"
        found["background"] = result.rejection.word
        found["background similarity"] = f"{result.rejection.similarity:.6g}"
    return found
