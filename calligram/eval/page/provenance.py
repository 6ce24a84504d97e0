"""Where the figures come from: models, data, settings and versions, as tables."""

import json
from typing import Any

from calligram.eval.page.digits import NOTHING
from calligram.eval.page.schema import DataSet, Results
from calligram.eval.report_parts import Cell, Section, Table

DIGEST_LENGTH = 16  # characters shown; results.json has them all
TEXT = "Digests are of the content and are cut here: results.json has the whole of them, and every figure unrounded."


def provenance(results: Results, anchor: str) -> Section:
    return Section("Provenance", TEXT, [*_models(results), *_data(results), *_settings(results)], anchor)


def _models(results: Results) -> list[Table]:
    rows: list[list[Cell]] = [
        [model.name, kind, part.place, part.parameters, digest(part.digest)]
        for model in results.models
        for kind, part in model.parts.items()
    ]
    return [Table("Models", ["model", "part", "place", "parameters", "digest"], rows)] if rows else []


def _data(results: Results) -> list[Table]:
    rows: list[list[Cell]] = [
        [data.name, splits(data), data.place, data.licence or "not stated", digest(data.digest)]
        for data in results.data
    ]
    return [Table("Data sets", ["data set", "samples", "place", "licence", "digest"], rows)] if rows else []


def _settings(results: Results) -> list[Table]:
    settings = [[name, setting(value)] for name, value in results.config.items()]
    versions = [[name, version or NOTHING] for name, version in results.versions.items()]
    tables = [
        Table("Settings", ["setting", "value"], settings),
        Table("Versions", ["library", "version"], versions),
    ]
    return [table for table in tables if table.rows]


def splits(data: DataSet) -> str:
    """``test 1,200, holdout 400``"""
    return ", ".join(f"{name} {count:,}" for name, count in data.splits.items())


def digest(text: str | None) -> str:
    return NOTHING if not text else text if len(text) <= DIGEST_LENGTH else f"{text[:DIGEST_LENGTH]}…"


def setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
