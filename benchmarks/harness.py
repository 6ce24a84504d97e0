"""What all benchmarks share: paired timing, facts about the machine, the table and the JSON file.

A benchmark is a file beside this one that hands ``run`` a function from ``quick`` to rows.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
QUICK = ".quick"  # of files beside the full results, which git does not keep


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison. ``ratio`` is above 1 where ours is better, whatever the metric; nan: there is none to be had."""

    case: str
    metric: str  # with its unit: "captions/s"
    ours: float
    peer: float
    peer_name: str
    ratio: float


def run(name: str, measure: Callable[[bool], Iterable[Row]], packages: Sequence[str]) -> None:
    """The main function of a benchmark: reads ``--quick``, measures, prints one table, writes one JSON file.

    ``packages`` are the distributions whose versions belong to the result.
    """
    parser = argparse.ArgumentParser(description=f"Side by side with peers: {name}. A ratio above 1: ours is better.")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller runs, done within a minute")
    quick = parser.parse_args().quick
    rows = list(measure(quick))
    print_table(name, rows)
    path = write_json(f"{name}{QUICK}" if quick else name, rows, packages)
    Console(stderr=True, highlight=False).print(f"written to {path}", soft_wrap=True)


def paired_seconds(
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    *,
    repeats: int,
    warmup: int = 1,
    synchronise: Callable[[], None] = lambda: None,
) -> list[tuple[float, float]]:
    """Seconds of (ours, peer), run in turn, so that what else the machine does falls on both.

    Who goes first alternates. ``synchronise`` waits for an accelerator, as ``torch.cuda.synchronize``.
    """

    def seconds(action: Callable[[], Any]) -> float:
        synchronise()
        start = time.perf_counter()
        action()
        synchronise()
        return time.perf_counter() - start

    pairs = []
    for turn in range(-warmup, repeats):
        if turn % 2:
            peer_seconds, our_seconds = seconds(peer), seconds(ours)
        else:
            our_seconds, peer_seconds = seconds(ours), seconds(peer)
        if turn >= 0:
            pairs.append((our_seconds, peer_seconds))
    return pairs


def row_of_pairs(
    case: str, metric: str, pairs: Sequence[tuple[float, float]], peer_name: str, *, higher_is_better: bool
) -> Row:
    """Medians of paired values (ours, peer). The ratio is the median of the pairs' ratios, not a ratio of medians."""
    ratios = [ours / peer if higher_is_better else peer / ours for ours, peer in pairs]
    return Row(
        case=case,
        metric=metric,
        ours=statistics.median(ours for ours, _ in pairs),
        peer=statistics.median(peer for _, peer in pairs),
        peer_name=peer_name,
        ratio=statistics.median(ratios),
    )


def throughput_row(
    case: str, unit: str, num_items: int, pairs_of_seconds: Sequence[tuple[float, float]], peer_name: str
) -> Row:
    """Items a second, ``unit`` being their plural name."""
    pairs = [(num_items / ours, num_items / peer) for ours, peer in pairs_of_seconds]
    return row_of_pairs(case, f"{unit}/s", pairs, peer_name, higher_is_better=True)


def print_table(name: str, rows: Iterable[Row]) -> None:
    table = Table(title=name, caption="a ratio above 1: ours is better")
    for heading in ("case", "metric", "ours", "peer", "peer's name", "ratio"):
        table.add_column(heading, justify="right" if heading in ("ours", "peer", "ratio") else "left", overflow="fold")
    for row in rows:
        table.add_row(row.case, row.metric, _short(row.ours), _short(row.peer), row.peer_name, _ratio(row.ratio))
    Console().print(table)


def write_json(name: str, rows: Iterable[Row], packages: Sequence[str], folder: Path = RESULTS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    result = {
        "benchmark": name,
        "machine": machine(),
        "versions": versions(packages),
        "rows": [{key: _rounded(value) for key, value in asdict(row).items()} for row in rows],
    }
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, str | int | float | None]:
    """What decides about speed; nothing that names the machine."""
    has_affinity = hasattr(os, "sched_getaffinity")  # on Linux: the cores that this process may use
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Python's version and the packages'; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _short(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _ratio(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.5g}")
    return value
