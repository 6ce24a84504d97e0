"""Evaluate models on a data set: every task that fits both, one flat table of numbers."""

import difflib
import importlib
import inspect
import json
import pkgutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from PIL import Image

from calligram.data.manifest import Manifest
from calligram.errors import UserError
from calligram.eval import features, sets
from calligram.eval import tasks as tasks_package
from calligram.eval.loading import load
from calligram.eval.systems import kind_of
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.files import write_aside


@cache
def tasks() -> dict[str, EvalTask]:
    """All tasks by name, found in ``eval/tasks/``."""
    found: dict[str, EvalTask] = {}
    for info in pkgutil.iter_modules(tasks_package.__path__):
        module = importlib.import_module(f"{tasks_package.__name__}.{info.name}")
        for _, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, EvalTask) and value.__module__ == module.__name__:
                found[value.name] = value()
    return found


def task(name: str) -> EvalTask:
    if name not in tasks():
        near = difflib.get_close_matches(name, tasks(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(tasks()))}"
        raise UserError(f"unknown evaluation task {name!r}; {hint}")
    return tasks()[name]


def check_tasks(names: Sequence[str]) -> None:
    """Raise UserError for a name that no task has, before anything slow is loaded."""
    for name in names:
        task(name)


def load_models(folders: Sequence[Path], device: torch.device | str = "cpu") -> Models:
    """Load runs by their type. The tokenizer of a DALL-E is evaluated with it unless another is named."""
    found: dict[str, Path] = {}
    for folder in folders:
        kind = kind_of(folder)
        if kind in found:
            raise UserError(f"{folder} is a second {kind} run: evaluate one of each type at a time")
        found[kind] = folder
    models = Models(**{kind: load(kind, folder, device) for kind, folder in found.items()})
    if models.tokenizer is None and models.dalle is not None:
        models = replace(models, tokenizer=models.dalle.image_tokenizer)
    return models


def evaluate(models: Models, data: Path | str, config: EvalConfig, names: Sequence[str] = ()) -> dict[str, float]:
    """Run the named tasks, or all that fit the models and the data. Keys are dotted names."""
    features.forget()
    sets.forget()
    manifest = Manifest.load(data)
    manifest.shards(config.split)
    chosen = [task(name) for name in names] or list(tasks().values())
    results: dict[str, float] = {}
    for each in chosen:
        if models.has(each.needs) and each.applies_to(manifest, config):
            values = measure(each, models, data, config)
            found = {name: float(value) for name, value in values.items() if not isinstance(value, Image.Image)}
            if names and not found:
                raise UserError(nothing_in(each, data))
            results |= found
        elif names:
            why = f"it needs a {' and a '.join(each.needs)} run" if not models.has(each.needs) else "not on this data"
            raise UserError(f"task {each.name} cannot run: {why}")
    if not results:
        raise UserError(f"no task fits these models and {data}")
    return results


def measure(each: EvalTask, models: Models, data: Path | str, config: EvalConfig) -> dict[str, Value]:
    """What a task yields, by dotted name. It sees no more of models and config than it says that it depends on."""
    handed = Models(**{kind: getattr(models, kind) for kind in each.takes()})
    values: dict[str, Value] = {}
    for name, value in each.run(handed, data, each.narrowed(config)):
        assert name not in values, f"task {each.name} yields {name} twice"
        values[name] = value
    return values


def nothing_in(each: EvalTask, data: Path | str) -> str:
    return f"task {each.name} finds nothing to measure in {data}"


def write_results(results: dict[str, float], path: Path) -> None:
    """``results.json``: one flat object, dotted key → number."""
    write_aside(path, (json.dumps(results, indent=1) + "\n").encode())
