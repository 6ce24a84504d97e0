"""A folder of drawings: pictures whose names sort, and results.jsonl with a line for each candidate."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from calligram.cli.drawing.batches import Candidate
from calligram.cli.drawing.orders import Order
from calligram.cli.drawing.save import check_writable, save_picture
from calligram.cli.find import make_folder
from calligram.errors import UserError
from calligram.eval.sheet import enlarge

RESULTS = "results.jsonl"
OWN = ("number", "prompt", "seed", "rank", "score", "log_p", "file")  # of a row; the rest is how it was drawn
SLUG_LENGTH = 40  # letters of a prompt in the name of a file

Row = dict[str, Any]


def open_folder(folder: Path, resume: bool) -> None:
    """Before any work is spent on it. UserError for one that has drawings, unless ``resume``."""
    make_folder(folder, "--out")
    check_writable(folder, "--out")
    results = folder / RESULTS
    if not resume and results.is_file() and results.stat().st_size:
        raise UserError(f"--out {folder} has drawings already: --resume goes on with them, or choose another folder")


class Gallery:
    """Takes the candidates of one order after the other; what it has taken stays, whatever happens then."""

    def __init__(self, folder: Path, scale: int, best: int | None):
        self.folder, self.scale, self.best = folder, scale, best
        self.results = folder / RESULTS
        self.rows: dict[int, list[Row]] = {}

    def find_done(self, orders: Sequence[Order], settings: Row) -> set[int]:
        """The numbers of the orders whose pictures are all there. Forgets what is there of the others.

        Raises UserError where pictures were drawn in another way than they are asked for now.
        """
        for row in _read(self.results):
            self.rows.setdefault(row["number"], []).append(row)
        wanted = {order.number: order for order in orders}
        for number, rows in self.rows.items():
            if number in wanted:
                self._check_same(rows[0], wanted[number], settings)
        self.rows = {n: rows for n, rows in self.rows.items() if n not in wanted or self._is_whole(rows, wanted[n])}
        self._write_all()
        return self.rows.keys() & wanted.keys()

    def add(self, order: Order, candidates: Sequence[Candidate], settings: Row) -> list[Row]:
        """Pictures first, then their lines, at once."""
        made = settings | {"sampling": order.sampling.model_dump(mode="json")}
        rows = []
        for rank, candidate in enumerate(candidates, 1):
            row: Row = {"number": order.number, "prompt": order.prompt, "seed": candidate.seed, "rank": rank}
            row |= {"score": candidate.score, "log_p": candidate.log_p, "file": None}
            if self.best is None or rank <= self.best:
                row["file"] = file_name(order, rank, candidate.seed)
                told = {"prompt": order.prompt, "seed": candidate.seed, "score": candidate.score}
                picture = enlarge(candidate.image, self.scale)
                save_picture(picture, self.folder / row["file"], told | {"log_p": candidate.log_p} | made)
            rows.append(row | made)
        self.rows[order.number] = rows
        self._append(rows)
        return rows

    def candidates(self, number: int) -> list[Candidate]:
        """Those of an order that is done, as they lie in the folder."""
        found = []
        for row in self.rows[number]:
            if row["file"] is not None:
                small = self._read_picture(self.folder / row["file"])
                found.append(Candidate(small, row["seed"], row["score"], row["log_p"]))
        return found

    def _read_picture(self, path: Path) -> Image.Image:
        try:
            with Image.open(path) as picture:
                return picture.convert("RGB").reduce(self.scale)  # each pixel was repeated, so their mean is it
        except (OSError, SyntaxError) as error:  # Pillow raises both on damaged files
            raise UserError(f"cannot read {path} ({error}): take it away, and --resume draws it again") from None

    def _check_same(self, row: Row, order: Order, settings: Row) -> None:
        now = {"prompt": order.prompt} | settings | order.sampling.model_dump(mode="json")
        then = {name: value for name, value in row.items() if name not in {*OWN, "sampling"}} | row["sampling"]
        then["prompt"] = row["prompt"]
        changed = [
            f"{name} {before}, not {after}"
            for name in sorted(now.keys() | then.keys())
            for before, after in [[json.dumps(each.get(name), ensure_ascii=False) for each in (then, now)]]
            if before != after
        ]
        if changed:
            raise UserError(
                f"{self.results}: prompt {order.number} was drawn with {'; '.join(changed)}: go on with the same, or "
                "choose another folder"
            )

    def _is_whole(self, rows: list[Row], order: Order) -> bool:
        there = all(row["file"] is None or (self.folder / row["file"]).is_file() for row in rows)
        return there and {row["seed"] for row in rows} == set(order.seeds)

    def _write_all(self) -> None:
        aside = self.results.with_name(f".{RESULTS}.{os.getpid()}.part")
        try:
            aside.write_text("".join(_line(row) for rows in self.rows.values() for row in rows), encoding="utf-8")
            aside.replace(self.results)
        except OSError as error:
            raise UserError(f"cannot write {self.results} ({error.strerror}): choose another folder") from None

    def _append(self, rows: Sequence[Row]) -> None:
        try:
            with self.results.open("a", encoding="utf-8") as file:
                file.write("".join(map(_line, rows)))
        except OSError as error:
            raise UserError(f"cannot write {self.results} ({error.strerror}): make room, then --resume") from None


def file_name(order: Order, rank: int, seed: int) -> str:
    """``0001-a-red-circle-01-seed-5.png``: by prompt, then by rank."""
    slug = "-".join(re.findall(r"\w+", order.prompt.lower()))[:SLUG_LENGTH].strip("-")
    digits = max(2, len(str(len(order.seeds))))
    return f"{order.number:04d}{slug and '-'}{slug}-{rank:0{digits}d}-seed-{seed}.png"


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _read(path: Path) -> list[Row]:
    """All whole lines: the last one may have been cut off."""
    if not path.is_file():
        return []
    rows = []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, text in enumerate(lines[:-1], 1):
        try:
            row = json.loads(text)
            rows.append(row | {name: row[name] for name in OWN})
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}, line {number} is none of ours: choose another folder") from None
    return rows
