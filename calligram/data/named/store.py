"""Data sets that were made of others, kept in the cache: whole, or not there at all."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from calligram.data import cache
from calligram.data.manifest import FILE_NAME
from calligram.errors import UserError

VERSION = 1  # of what is written from the same facts
FOLDER = "sets"  # within the cache; CALLIGRAM_CACHE_GB counts copies of files alone, not these


def keep(name: str, facts: Any, write: Callable[[Path], None]) -> Path:
    """The folder of the data set that ``facts`` (JSON) stand for; ``write`` fills an empty one where there is none.

    Of several processes one writes and the others wait. What is broken off leaves nothing that could be taken for a
    data set.
    """
    text = json.dumps([VERSION, name, facts], sort_keys=True)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    # the name comes last, since people see the last part of a path in tables
    folder = cache.folder().absolute() / FOLDER / digest / (re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data")
    try:
        if not (folder / FILE_NAME).is_file():
            with cache.alone(folder.parent / ".lock"):
                if not (folder / FILE_NAME).is_file():
                    _fill(folder, write)
    except OSError as error:
        raise UserError(
            f"{name} cannot be kept in {cache.folder()} ({error.strerror or error}): make room there, "
            f"or name another folder of this machine in {cache.FOLDER}"
        ) from None
    return folder


def _fill(folder: Path, write: Callable[[Path], None]) -> None:
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        write(aside)
        os.replace(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
