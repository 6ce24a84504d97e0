"""Evaluate models on a data set: every task that fits both, one flat table of numbers."""

import difflib
import importlib
import inspect
import json
import pkgutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from PIL import Image

from calligram import runs
from calligram.clip.weights.source import is_foreign
from calligram.clip.zero_shot import load_clip
from calligram.dalle.draw import load_dalle
from calligram.data.manifest import Manifest
from calligram.errors import UserError
from calligram.eval import features, sets
from calligram.eval import tasks as tasks_package
from calligram.eval.task import EvalConfig, EvalTask, Models
from calligram.tokenizers.run import load_tokenizer

LOADERS = {"clip": load_clip, "tokenizer": load_tokenizer, "dalle": load_dalle}


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
    found: dict[str, object] = {}
    for folder in folders:
        kind = "clip" if is_foreign(folder) else runs.read_config(folder)["type"]
        if kind not in LOADERS:
            raise UserError(f"{folder} is a {kind!r} run, which nothing here can evaluate")
        if kind in found:
            raise UserError(f"{folder} is a second {kind} run: evaluate one of each type at a time")
        found[kind] = LOADERS[kind](folder, device)
    models = Models(**found)  # pyright: ignore[reportArgumentType]
    if models.tokenizer is None and models.dalle is not None:
        models = Models(models.clip, models.dalle.image_tokenizer, models.dalle)
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
            found = {
                name: float(value)
                for name, value in each.run(models, data, config)
                if not isinstance(value, Image.Image)
            }
            if names and not found:
                raise UserError(f"task {each.name} finds nothing to measure in {data}")
            results |= found
        elif names:
            why = f"it needs a {' and a '.join(each.needs)} run" if not models.has(each.needs) else "not on this data"
            raise UserError(f"task {each.name} cannot run: {why}")
    if not results:
        raise UserError(f"no task fits these models and {data}")
    return results


def write_results(results: dict[str, float], path: Path) -> None:
    """``results.json``: one flat object, dotted key → number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
