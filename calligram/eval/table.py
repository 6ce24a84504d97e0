"""Results for the terminal."""

import json


def as_text(results: dict[str, float], as_json: bool = False) -> str:
    """One line a number, names left and values right; or one JSON object."""
    if as_json:
        return json.dumps(results, indent=1)
    width = max(map(len, results))
    return "\n".join(f"{name:<{width}}  {_number(value):>10}" for name, value in results.items())


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) >= 2 else f"{value:.4f}"
