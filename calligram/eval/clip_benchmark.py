"""Figures as CLIP_benchmark writes them, one file a cell, so that its ``build`` and its notebooks read ours, too."""

import json
from pathlib import Path
from typing import Any

from calligram.files import write_aside

FOLDER = "clip_benchmark"
LANGUAGE = "en"
TASKS = {
    "zero-shot": "zeroshot_classification",
    "retrieval": "zeroshot_retrieval",
    "retrieval-all-captions": "zeroshot_retrieval",  # comes later and stands for both: theirs reads all captions, too
}
METRICS = {
    "top1": "acc1",
    "top5": "acc5",
    "mean_per_class_recall": "mean_per_class_recall",
    **{f"{side}_recall_at_{k}": f"{side}_retrieval_recall@{k}" for side in ("image", "text") for k in (1, 5, 10)},
}
OPEN_CLIP = "open_clip:"
DIGITS = 16  # of the weights' digest, which stands for the name of weights that have none


def write_clip_benchmark(results: dict[str, Any], folder: Path) -> list[Path]:
    """A file for each finished cell of zero-shot classification and of retrieval; returns their paths."""
    models = {model["name"]: model["parts"] for model in results["models"]}
    written = []
    for cell in results["cells"]:
        if cell["task"] not in TASKS or cell["status"] != "done":
            continue
        found = as_clip_benchmark(cell, results["rows"], models[cell["model"]]["clip"])
        words = [found[name] for name in ("dataset", "pretrained", "model", "language", "task")]
        path = folder / FOLDER / f"{'_'.join(words).replace('/', '_')}.json"
        write_aside(path, (json.dumps(found) + "\n").encode())
        written.append(path)
    return written


def as_clip_benchmark(cell: dict[str, Any], rows: list[dict[str, Any]], clip: dict[str, Any]) -> dict[str, Any]:
    """Their object: ``dataset``, ``model``, ``pretrained``, ``task``, ``metrics``, ``language``."""
    model, pretrained = cell["model"], clip["digest"][:DIGITS]
    if clip["place"].startswith(OPEN_CLIP):
        model, _, pretrained = clip["place"].removeprefix(OPEN_CLIP).partition("/")
    names = ("model", "data", "task")
    own = [row for row in rows if all(row[name] == cell[name] for name in names)]
    return {
        "dataset": cell["data"],
        "model": model,
        "pretrained": pretrained,
        "task": TASKS[cell["task"]],
        "metrics": {METRICS[name]: row["value"] for row in own if (name := row["metric"].split(".")[-1]) in METRICS},
        "language": LANGUAGE,
    }
