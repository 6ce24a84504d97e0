"""Where data lies: a local path, or a URL.

A URL stays a ``str``, since a ``Path`` would make one slash of the two in ``http://``.
"""

import posixpath
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AfterValidator

PIPE = "pipe:"  # a shell command whose output is the file; WebDataset's spelling
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(where: Path | str) -> bool:
    return isinstance(where, str) and (where.startswith(PIPE) or _SCHEME.match(where) is not None)


def scheme(url: str) -> str:
    """``https`` of ``https://…``, ``pipe`` of ``pipe:…``."""
    return url.partition(":")[0].lower()


def place(where: Path | str) -> Path | str:
    """A URL as it is, all else as a path."""
    return where if isinstance(where, Path) or is_url(where) else Path(where)


# the type of a field of a config; `str` first, since tyro takes the first type that fits
Place = Annotated[str | Path, AfterValidator(place)]


def join(folder: Path | str, name: str) -> Path | str:
    """Where a file lies that a manifest in ``folder`` names: relative to it, or by a path or a URL of its own."""
    folder = place(folder)
    if is_url(name):
        return name
    if isinstance(folder, Path):
        return folder / name
    if name.startswith("/"):
        return Path(name)
    if scheme(folder) in ("http", "https"):
        parts = urlsplit(folder)  # what follows a ? is a key to the whole folder, as with Azure
        return urlunsplit(parts._replace(path=posixpath.normpath(f"{parts.path}/{quote(name)}")))
    start, _, path = folder.partition("://")
    return f"{start}://{posixpath.normpath(f'{path}/{name}')}"
