"""Named sources: each file here has one subclass of ``Source``, which is found by its ``name``."""

import importlib
import inspect
import pkgutil
from functools import cache

from calligram.data.source import Source


@cache
def sources() -> dict[str, type[Source]]:
    """All sources by name."""
    found: dict[str, type[Source]] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for _, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, Source) and value.__module__ == module.__name__:
                found[value.name] = value
    return found
