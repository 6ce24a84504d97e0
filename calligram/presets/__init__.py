"""Named runs: one file a family, each preset with its command, cost and result.

A module here that has ``PRESETS: dict[str, run]`` is found by itself; a new preset is an entry there.
"""

import difflib
import pkgutil
from functools import cache
from importlib import import_module

from calligram.errors import UserError
from calligram.presets.config import ClipRun, DalleRun, TokenizerRun


@cache
def presets() -> dict[str, TokenizerRun | ClipRun | DalleRun]:
    """All presets by name."""
    found: dict[str, TokenizerRun | ClipRun | DalleRun] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= getattr(import_module(f"{__name__}.{module.name}"), "PRESETS", {})
    return found


def preset(name: str) -> TokenizerRun | ClipRun | DalleRun:
    """One preset, or a UserError that names the nearest."""
    if name not in presets():
        near = difflib.get_close_matches(name, presets(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(presets()))}"
        raise UserError(f"unknown preset {name!r}; {hint}")
    return presets()[name]
