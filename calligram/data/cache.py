"""The folder of this machine where copies of files from elsewhere lie, and what goes when it is full.

A limit counts the copies alone. Their indexes and tokens stay where a copy goes, since they are small and took time.
The one that was used the longest ago goes first, and none that a process has open: the system would not give back
the room before it is closed.
"""

import fcntl
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from calligram.data.place import PIPE
from calligram.errors import UserError

log = logging.getLogger(__name__)
FOLDER, LIMIT = "CALLIGRAM_CACHE", "CALLIGRAM_CACHE_GB"
_COPY = re.compile(r"\.?[0-9a-f]{16}-.*(?<!\.safetensors)(?<!\.npy)")  # with a dot in front: one that is being made
_GB = 10**9
PAUSE = 0.02  # seconds between two tries to get a lock


def folder() -> Path:
    """The cache of this machine."""
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "calligram"


def cached(url: str, sha256: str) -> Path:
    """Where the file of a URL is once it has been fetched."""
    digest = hashlib.sha256(f"{url}\n{sha256}".encode()).hexdigest()[:16]
    base = "pipe.tar" if url.startswith(PIPE) else unquote(re.split(r"[?#]", url)[0].rpartition("/")[2])
    return folder() / f"{digest}-{re.sub(r'[^A-Za-z0-9._-]', '_', base)[-100:]}"


def is_there(path: Path, size: int | None) -> bool:
    """True for a whole copy, which counts as used by that."""
    try:
        if size is not None and path.stat().st_size != size:
            return False
        with suppress(PermissionError):
            os.utime(path)
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False


def hold(file: int, path: Path) -> bool:
    """Keep an open copy from going, as long as it is open. False where it went before."""
    with suppress(OSError):  # a file system that knows no locks
        fcntl.flock(file, fcntl.LOCK_SH)
    return is_at(file, path)


def is_at(file: int, path: Path) -> bool:
    """True where an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def limit() -> int | None:
    """Bytes that all copies together may have. Raises UserError where the variable is no number."""
    said = os.environ.get(LIMIT)
    if not said:
        return None
    try:
        gigabytes = float(said)
        if not 0 < gigabytes < float("inf"):
            raise ValueError
    except ValueError:
        raise UserError(f"{LIMIT} is {said!r}: give a number of gigabytes, say 500, or leave it out") from None
    return int(gigabytes * _GB)


def make_room(size: int, keep: Path | None = None) -> None:
    """Let copies but ``keep`` go until one of ``size`` bytes more fits into the limit."""
    allowed = limit()
    if allowed is None or not folder().is_dir():
        return
    with alone(folder() / ".room"):
        copies = sorted(_copies())
        total = sum(copy_size for _, copy_size, _ in copies) + size
        for _, copy_size, path in copies:
            if total <= allowed:
                return
            if path != keep and _remove(path):
                total -= copy_size
        if total > allowed:
            _warn_once(
                f"{folder()} has {total / _GB:.3g} GB of data, more than the {allowed / _GB:.3g} of {LIMIT}: all of it "
                f"is in use; set fewer --data.lanes or --data.shuffle-shards, or a higher limit"
            )


@lru_cache(maxsize=1)
def _warn_once(message: str) -> None:
    log.warning(message)


def _copies() -> Iterator[tuple[float, int, Path]]:
    """When each was used last, its bytes and its path."""
    for path in folder().iterdir():
        if _COPY.fullmatch(path.name):
            with suppress(FileNotFoundError):
                found = path.stat()
                yield found.st_mtime, found.st_size, path


def _remove(path: Path) -> bool:
    """False for a copy that is in use, or being made."""
    if path.name.startswith("."):
        return False
    try:
        with path.open("rb") as file:
            if not _lock(file):
                return False
            path.unlink()
            _unlock(file)
            return True
    except FileNotFoundError:
        return True
    except OSError:
        return False


@contextmanager
def alone(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, for one process and thread at a time.

    The lock is on that file itself, and the system's: one that is killed leaves no lock, and what it wrote is
    overwritten by the next.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("ab") as file:
            # asked for again and again: whoever waits for the lock itself goes on waiting when the file has become a
            # copy that is held
            if not _lock(file) or not is_at(file.fileno(), path):
                time.sleep(PAUSE)
                continue
            try:
                yield file
            finally:
                if is_at(file.fileno(), path):
                    path.unlink()
                _unlock(file)
            return


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _unlock(file: BinaryIO) -> None:
    """Said and not left to closing, which would leave the lock to a process that was forked meanwhile."""
    fcntl.flock(file, fcntl.LOCK_UN)
