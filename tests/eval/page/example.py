"""Results as ``calligram evaluate --out`` writes them, of any size, with all that can happen in them."""

import math

TASKS = {
    "zero-shot": ["clip.zero_shot.top1", "clip.zero_shot.ece", "clip.zero_shot.num_samples"],
    "retrieval": ["clip.retrieval.text_recall_at_1", "clip.retrieval.text_median_rank"],
    "reconstruction": ["tokenizer.psnr_db", "tokenizer.rfid_inception"],
    "odd": ["odd.never_heard_of"],
}


def row(model="clip", data="shapes", task="zero-shot", metric="clip.zero_shot.top1", value=0.97, **more) -> dict:
    bounds = {"low": None, "high": None, "count": None, **more}
    return {"model": model, "data": data, "task": task, "metric": metric, "value": value, **bounds}


def cell(model="clip", data="shapes", task="zero-shot", status="done", reason=None, pictures=None) -> dict:
    named = {"key": f"{model}{data}{task}", "model": model, "data": data, "task": task}
    return {**named, "seconds": 3.1, "status": status, "reason": reason, "pictures": pictures or {}}


def results(rows: list[dict], cells: list[dict], **more) -> dict:
    models, data = (dict.fromkeys(each[key] for each in [*rows, *cells]) for key in ("model", "data"))
    return {
        "version": 1,
        "rows": rows,
        "cells": cells,
        "models": [
            {"name": name, "parts": {"clip": {"place": f"runs/{name}", "digest": "ab" * 32, "parameters": 1234567}}}
            for name in models
        ],
        "data": [
            {
                "name": name,
                "place": f"shards/{name}",
                "digest": "cd" * 32,
                "splits": {"test": 1200},
                "licence": "CC0-1.0",
            }
            for name in data
        ],
        "config": {"split": "test", "seed": 0},
        "versions": {"calligram": "0.1.0", "torch": "2.14.1"},
        "machine": "x86_64, 2 cores",
        "started": "2026-11-23T01:16:48+00:00",
        "seconds": 812.4,
        **more,
    }


def one() -> dict:
    return results([row(low=0.958, high=0.981, count=1000)], [cell()])


def many(models: int = 3, tasks: int = 15, data: int = 3) -> dict:
    """A product of models, tasks and data sets: whole, failed and skipped cells, NaN, None and missing intervals."""
    rows, cells = [], []
    kinds = list(TASKS.items())
    for d in range(data):
        for t in range(tasks):
            kind, metrics = kinds[t % len(kinds)]
            for m in range(models):
                names = (f"model {m}", f"set {d}", f"{kind} {t}")
                if (d + t + m) % 11 == 5:
                    cells.append(cell(*names, status="failed", reason=f"no memory for {names[2]}"))
                elif (t + m) % 7 == 3:
                    cells.append(cell(*names, status="skipped", reason="it needs a DALL-E"))
                else:
                    cells.append(cell(*names))
                    rows += [row(*names, metric, *_value(d, t, m), **_bounds(d + t + m)) for metric in metrics]
    return results(rows, cells)


def _value(d: int, t: int, m: int) -> list[float | None]:
    odd = {0: math.nan, 1: None, 2: math.inf}
    return [odd[m]] if (d, t) == (0, 2) else [0.4 + 0.1 * m + 0.01 * t]


def _bounds(number: int) -> dict:
    return {} if number % 4 == 0 else {"low": 0.3, "high": 0.95, "count": 100 + number}
