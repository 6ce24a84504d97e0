"""Shows what a run is, how far it came and what it reached."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, Field

from calligram import runs
from calligram.cli.fields import AsJson
from calligram.cli.find import KINDS
from calligram.cli.flags import parse
from calligram.cli.table import megabytes, print_list, sparkline
from calligram.errors import UserError

RESULTS = "results.json"


class Flags(BaseModel):
    """Shows a run: type, size, progress, last metrics, checkpoints, config, results."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = Field(description="folder of a run")
    as_json: AsJson = False


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram show")
    facts = describe(flags.run)
    print(json.dumps(facts, indent=1, ensure_ascii=False)) if flags.as_json else print_facts(flags.run, facts)


def describe(run: Path) -> dict[str, Any]:
    """All that a run's files say, for a program."""
    config = runs.read_config(run)
    metrics = runs.read_metrics(run)
    losses = [row for row in metrics if math.isfinite(row.get("loss", math.nan))]
    best = min(losses, key=lambda row: row["loss"], default=None)
    checkpoints = runs.checkpoints(run)
    has_weights = bool(checkpoints) or (run / runs.MODEL).is_file()
    return {
        "type": config["type"],
        "parameters": runs.count_parameters(runs.weights(run)) if has_weights else None,
        "steps": runs.step_of(checkpoints[-1]) if checkpoints else 0,
        "planned_steps": config.get("train", {}).get("steps"),
        "last": metrics[-1] if metrics else None,
        "best_loss": best and {"step": best["step"], "loss": best["loss"]},
        "losses": [row["loss"] for row in losses],
        "checkpoints": [{"name": folder.name, "bytes": size_of(folder)} for folder in checkpoints],
        "config": flatten(config),
        "results": read_results(run, config["type"]),
    }


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"lr": 0.001}} → {"train.lr": 0.001}: spelled as the flags are."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def read_results(run: Path, kind: str) -> dict[str, float] | None:
    """What ``calligram evaluate`` wrote into the run, or beside it for several runs: then the run's own numbers."""
    for path in (run / RESULTS, run.parent / RESULTS):
        if path.is_file():
            try:
                results = _flat(dict(json.loads(path.read_text(encoding="utf-8"))))
            except (ValueError, TypeError, KeyError):
                raise UserError(
                    f"{path} is not what `calligram evaluate` writes: delete it, or evaluate again"
                ) from None
            if path.parent != run and _has_twin(run, kind):
                return None  # nothing says which of them was evaluated
            own = {name: value for name, value in results.items() if name.startswith(f"{kind}.")}
            return results if path.parent == run else own or None
    return None


def _flat(results: dict[str, Any]) -> dict[str, float]:
    """Of one model on one data set as `--out DIR` writes it, or as `--out FILE.json`; of several nothing is said."""
    if "rows" not in results:
        return results
    rows = results["rows"]
    is_one = len({(row["model"], row["data"]) for row in rows}) == 1
    return {row["metric"]: row["value"] for row in rows} if is_one else {}


def _has_twin(run: Path, kind: str) -> bool:
    """Whether another run of the same kind lies beside this one."""
    others = (config.parent for config in run.parent.glob(f"*/{runs.CONFIG}") if config.parent.name != run.name)
    return any(runs.read_config(other)["type"] == kind for other in others)


def print_facts(run: Path, facts: dict[str, Any]) -> None:
    print(f"{run}: {KINDS.get(facts['type'], facts['type'])}\n")
    print_list(summary(facts).items())
    print("\nconfig")
    print_list((name, in_words(value)) for name, value in facts["config"].items())
    if facts["results"]:
        print("\nresults")
        print_list((name, in_words(value)) for name, value in facts["results"].items())


def summary(facts: dict[str, Any]) -> dict[str, str]:
    planned = f" of {facts['planned_steps']}" if facts["planned_steps"] else ""
    found = {
        "parameters": f"{facts['parameters']:,}" if facts["parameters"] is not None else "no checkpoint yet",
        "steps": f"{facts['steps']}{planned}",
    }
    if facts["last"]:
        row = dict(facts["last"])
        step = row.pop("step")
        found[f"at step {step}"] = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
    if facts["best_loss"]:
        found["best loss"] = f"{facts['best_loss']['loss']:.4g} at step {facts['best_loss']['step']}"
        found["loss"] = sparkline(facts["losses"], 60)
    checkpoints = [f"{checkpoint['name']} ({megabytes(checkpoint['bytes'])})" for checkpoint in facts["checkpoints"]]
    return found | {"checkpoints": ", ".join(checkpoints) or "none"}


def in_words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
