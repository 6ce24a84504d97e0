"""What an evaluation found, as one object for ``results.json``, and the files that are made of it.

Times stand only under ``seconds`` and ``started``: all else is the same bytes whenever it is measured again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calligram.eval.cells import Cell, Outcome
from calligram.eval.clip_benchmark import write_clip_benchmark
from calligram.eval.identity import DataSet
from calligram.eval.page import as_csv, as_markdown, write_page
from calligram.eval.product import Parts
from calligram.eval.provenance import versions
from calligram.eval.systems import System
from calligram.eval.task import EvalConfig
from calligram.files import write_aside

VERSION = 1
FILE = "results.json"

Row = dict[str, Any]


def as_results(
    systems: Sequence[System],
    data: Sequence[DataSet],
    cells: Sequence[Cell],
    outcomes: dict[str, Outcome],
    parts: Parts,
    config: EvalConfig,
    machine: str,
    started: str,
    seconds: float,
) -> dict[str, Any]:
    """The object; docs/EVALUATION.md describes its fields."""
    return {
        "version": VERSION,
        "rows": [row for cell in cells for row in _rows(cell, outcomes)],
        "cells": [_facts(cell, outcomes) for cell in cells],
        "models": [{"name": system.name, "parts": _parts(system, parts)} for system in systems],
        "data": [each.facts() for each in data],
        "config": config.model_dump(),
        "versions": versions(),
        "machine": machine,
        "started": started,
        "seconds": round(seconds, 3),
    }


def _names(cell: Cell) -> dict[str, str]:
    return {"model": cell.system.name, "data": cell.data.name, "task": cell.task.name}


def _rows(cell: Cell, outcomes: dict[str, Outcome]) -> list[Row]:
    found = outcomes.get(cell.key) if cell.reason is None else None
    return [{**_names(cell), **figure.model_dump()} for figure in (found.figures if found else ())]


def _facts(cell: Cell, outcomes: dict[str, Outcome]) -> dict[str, Any]:
    if cell.reason is not None:
        outcome = Outcome(key=cell.key, status="skipped", reason=cell.reason)
    else:
        outcome = outcomes[cell.key]
    told = outcome.model_dump(include={"seconds", "status", "reason", "pictures"})
    return {"key": cell.key, **_names(cell), **told}


def _parts(system: System, parts: Parts) -> dict[str, Any]:
    return {kind: asdict(parts[kind, place]) for kind, place in sorted(system.places.items())}


def write_folder(results: dict[str, Any], folder: Path) -> None:
    """``results.json``, what is made of it for people to read, and CLIP_benchmark's files."""
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
    write_aside(folder / FILE, f"{text}\n".encode())
    write_clip_benchmark(results, folder)
    _write_pages(results, folder)


def _write_pages(results: dict[str, Any], folder: Path) -> None:
    write_aside(folder / "results.csv", as_csv(results).encode())
    write_aside(folder / "results.md", as_markdown(results).encode())
    write_page(results, folder)


def flat(results: dict[str, Any]) -> dict[str, float]:
    """Dotted name → number, of an evaluation in which no name comes twice."""
    return {row["metric"]: row["value"] for row in results["rows"]}
