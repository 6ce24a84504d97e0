"""Files from elsewhere, kept in a folder of this machine: whole and checked, or not there at all.

A file is downloaded aside, its length and its sha256 are compared, and only then it gets its name. Of the processes
that want it, one downloads and the others wait. What cannot be had is an error after some tries and never another
sample in its place, since the data of a training would depend on the network.
"""

import hashlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from calligram.data import cache, transport
from calligram.data.place import PIPE
from calligram.data.transport import Refused
from calligram.errors import UserError

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How long a source is waited for. All tries together end before torch's collectives do, at 10 minutes."""

    timeout: float = 60  # seconds without news
    tries: int = 5
    wait: float = 1  # seconds before the second try; twice as long before each further one


PATIENCE = Patience()


class NotThere(UserError):
    """The server answers that it has no such file, or that nobody may read it."""


def fetch(
    url: str,
    size: int | None = None,
    sha256: str | None = None,
    patience: Patience | None = None,
    allow_pipe: bool = False,
) -> Path:
    """The local copy of a file, downloaded where there is none. Without a ``sha256`` it is always downloaded.

    Raises UserError, which names the URL, where it cannot be had as it should be.
    """
    target = cache.cached(url, sha256 or "")
    if sha256 is not None and cache.is_there(target, size):
        return target
    if url.startswith(PIPE) and not allow_pipe:
        raise UserError(
            f"{url} is the output of a command, which only `calligram data index --allow-pipe` runs: "
            f"run that on this machine"
        )
    try:
        with cache.alone(target.with_name(f".{target.name}.part")) as aside:
            if sha256 is not None and cache.is_there(target, size):
                return target  # another process has been at it
            cache.make_room(size or 0)
            found = _persist(url, lambda timeout: _download(url, aside, size, sha256, timeout), patience)
            target = cache.cached(url, found)
            os.replace(aside.name, target)
            cache.make_room(0, keep=target)  # once more, since others were downloading at the same time
    except OSError as error:
        raise UserError(
            f"{url} cannot be kept in {cache.folder()} ({error.strerror}): make room there, "
            f"or name another folder of this machine in {cache.FOLDER}"
        ) from None
    return target


def read(url: str, patience: Patience | None = None) -> bytes:
    """A small file that has no checksum to hold it against: it is read until two readings agree. Nothing is kept."""

    def twice(timeout: float) -> bytes:
        first, second = (b"".join(transport.chunks(url, timeout)) for _ in range(2))
        if first != second:
            raise OSError("two readings of it differ")
        return first

    return _persist(url, twice, patience)


def read_if_there(url: str, patience: Patience | None = None) -> bytes | None:
    """As :func:`read`; None for a file that is not there. A server that does not answer is an error all the same."""
    try:
        return read(url, patience)
    except NotThere:
        return None


def check(url: str) -> None:
    """Raises UserError where URLs of this kind cannot be read here. No server is asked."""
    try:
        if not url.startswith(PIPE):
            transport.check(url)
    except Refused as error:
        raise UserError(f"{url}: {error}") from None


def _download(url: str, file: BinaryIO, size: int | None, sha256: str | None, timeout: float) -> str:
    """The sha256 of what was written."""
    digest, received = hashlib.sha256(), 0
    with _local():
        file.truncate(0)
    for data in transport.chunks(url, timeout, size):
        digest.update(data)
        received += len(data)
        if size is not None and received > size:
            break
        with _local():
            file.write(data)
    if size is not None and received != size:
        raise OSError(f"it has {'more' if received > size else f'{received:,}'} bytes, the manifest says {size:,}")
    if sha256 is not None and digest.hexdigest() != sha256:
        raise OSError("its sha256 is not the manifest's")
    with _local():
        file.flush()
        os.fsync(file.fileno())  # a name must not outlive its bytes where the machine fails
    return digest.hexdigest()


class _LocalError(Exception):
    """The disk's fault, not the network's: no other try."""


@contextmanager
def _local() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _LocalError(error) from None


def _persist(url: str, attempt: Callable[[float], Result], patience: Patience | None) -> Result:
    """What an attempt returns: the first that does, with pauses that grow and that no two processes share."""
    patience = patience or PATIENCE
    said = ""
    for number in range(patience.tries):
        if number:
            # not the seeded generators: how often the network fails must not show in the data
            pause = patience.wait * 2 ** (number - 1) * random.SystemRandom().uniform(0.5, 1.5)
            log.warning(f"{url}: {said}; again in {pause:.1f} s")
            time.sleep(pause)
        try:
            return attempt(patience.timeout)
        except _LocalError as error:
            raise error.args[0] from None
        except Refused as error:
            raise NotThere(f"{url}: {error}") from None
        except Exception as error:
            said = " ".join(str(error).split()) or type(error).__name__
    raise UserError(
        f"{url}: {said}; tried {patience.tries} times: check the server and the network, then start again "
        f"(what was fetched before stays in {cache.folder()})"
    )
