"""Two evaluations side by side: what differs, and whether by more than chance would have it.

Both intervals are taken as those of normal distributions of their own, so that the half width of the difference's is
the root of the sum of their squares. Where both were measured on the same samples, errors go together and the true
interval is narrower: what is marked differs, what is not marked may.
"""

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calligram.errors import UserError

FILE = "results.json"
NAMES = ("model", "data", "task", "metric")


@dataclass(frozen=True)
class Difference:
    """One metric on both sides; ``low`` and ``high`` bound ``b − a`` where both have an interval."""

    model: str
    data: str
    task: str
    metric: str
    a: float
    b: float
    low: float | None
    high: float | None

    @property
    def difference(self) -> float:
        return self.b - self.a

    @property
    def differs(self) -> bool | None:
        """Whether the interval excludes 0; None without one."""
        return None if self.low is None or self.high is None else self.low > 0 or self.high < 0

    def facts(self) -> dict[str, Any]:
        return {**asdict(self), "difference": self.difference, "differs": self.differs}


def read_results(place: Path) -> dict[str, Any]:
    """Of a folder that ``calligram evaluate --out`` wrote, or of its results.json."""
    path = place / FILE if place.is_dir() else place
    if not path.is_file():
        raise UserError(f"{place} has no {FILE}: give a folder that `calligram evaluate --out` wrote")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = [{name: row[name] for name in (*NAMES, "value", "low", "high")} for row in found["rows"]]
        numbers = [row["value"] for row in rows]
        if not all(isinstance(number, int | float) for number in numbers):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not what `calligram evaluate --out DIR` writes: evaluate again") from None
    return found


def compare(a: dict[str, Any], b: dict[str, Any]) -> tuple[list[Difference], int, int]:
    """Metrics that both have, and how many only ``a`` and only ``b`` has.

    Joined by model, data, task and metric; a model's name does not matter where each side has one alone, nor does a
    data set's. Raises UserError where nothing is in common.
    """
    joined_by = _joined_by(a, b)
    left, right = _by_names(a, joined_by), _by_names(b, joined_by)
    found = [_difference(left[key], right[key]) for key in left if key in right]
    if not found:
        raise UserError(
            f"nothing is in common: {_names(a)} on one side, {_names(b)} on the other; compare evaluations of the same "
            "models, data and tasks"
        )
    return found, len(left) - len(found), len(right) - len(found)


def warnings(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What makes the two sides hard to compare: other data under the same name, another config."""
    found = []
    digests = [{each["name"]: each["digest"] for each in side.get("data", ())} for side in (a, b)]
    names = [name for name in digests[0] if digests[1].get(name, digests[0][name]) != digests[0][name]]
    if _is_alone(a, b, "data") and not names and list(digests[0].values()) != list(digests[1].values()):
        names = [" and ".join(name for side in digests for name in side)]
    found += [f"not the same data: {name} differs by its digest" for name in names]
    configs = [side.get("config", {}) for side in (a, b)]
    fields = [name for name in configs[0] if configs[0][name] != configs[1].get(name)]
    found += [f"not measured alike: {name} {configs[0][name]} against {configs[1].get(name)}" for name in fields]
    return found


def _is_alone(a: dict[str, Any], b: dict[str, Any], name: str) -> bool:
    return all(len({row[name] for row in side["rows"]}) == 1 for side in (a, b))


def _joined_by(a: dict[str, Any], b: dict[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in NAMES if name not in ("model", "data") or not _is_alone(a, b, name))


def _by_names(side: dict[str, Any], names: tuple[str, ...]) -> dict[tuple[str, ...], dict[str, Any]]:
    keys = [tuple(row[name] for name in names) for row in side["rows"]]
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise UserError(f"{', '.join(twice[0])} stands twice in one of the results: evaluate again")
    return dict(zip(keys, side["rows"], strict=True))


def _difference(a: dict[str, Any], b: dict[str, Any]) -> Difference:
    names = {name: a[name] if a[name] == b[name] else f"{a[name]} → {b[name]}" for name in NAMES}
    low, high = None, None
    if None not in (a["low"], a["high"], b["low"], b["high"]):
        half = math.hypot(a["high"] - a["low"], b["high"] - b["low"]) / 2
        low, high = b["value"] - a["value"] - half, b["value"] - a["value"] + half
    return Difference(**names, a=a["value"], b=b["value"], low=low, high=high)


def _names(side: dict[str, Any]) -> str:
    models, data = ({row[name]: None for row in side["rows"]} for name in ("model", "data"))
    return f"{', '.join(models) or 'no figures'} on {', '.join(data) or 'no data'}"
