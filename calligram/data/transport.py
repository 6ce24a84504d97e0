"""The bytes of a URL as they come: over http(s), through fsspec, or from a command.

http(s) takes the standard library: it needs no event loop, which a worker process would inherit broken, and each of
its reads has a timeout. Whatever can hang, on either road, is waited for in a thread that is given up.
"""

import http.client
import os
import queue
import signal
import string
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote

from calligram.data.place import PIPE, scheme

CHUNK = 2**20  # bytes; a source that takes longer than the timeout for so many counts as stalled
WORTH_RETRYING = (408, 425, 429)  # of the 4xx, the ones that pass
READABLE = "http, https, s3, gs and hf can be read"
EXTRA = "for s3 and gs: pip install 'calligram[remote]'"
Result = TypeVar("Result")


class Refused(Exception):
    """Something that asking again does not change, and what to do about it."""

    def __init__(self, what: str, remedy: str = "check the address, and that you may read it"):
        super().__init__(f"{what}; {remedy}")


def chunks(url: str, timeout: float, size: int | None = None) -> Iterator[bytes]:
    """The bytes of a URL, never fewer than were announced; none at all where another ``size`` is announced.

    Raises Refused where there is no point in another try; any other exception is worth one.
    """
    stream, announced = _within(timeout, _OPENERS.get(scheme(url), _open_fsspec), url, timeout)
    received = 0
    try:
        if size is not None and announced not in (None, size):
            raise OSError(f"it has {announced:,} bytes, the manifest says {size:,}")
        while data := _within(timeout, stream.read, CHUNK):
            received += len(data)
            yield data
        if announced is not None and received != announced:
            raise OSError(f"cut off after {received:,} of {announced:,} bytes")
        _within(timeout, stream.close)
    finally:
        # all else is left to the collector: closing would wait for a read that hangs
        if isinstance(stream, _Command):
            stream.kill()


def check(url: str) -> None:
    """Raises Refused where nothing here can read URLs of this kind; asks no server."""
    if scheme(url) not in _OPENERS:
        _file_system(url)


def find(url: str) -> list[str]:
    """The URLs that one with ``*`` stands for, sorted."""
    system, path = _file_system(url)
    return sorted(system.unstrip_protocol(name) for name in system.glob(path))


def _within(timeout: float, call: Callable[..., Result], *args: Any) -> Result:
    """What a call returns. Where it takes longer, its thread is left behind and TimeoutError raised."""
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def answer() -> None:
        try:
            answers.put((call(*args), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=answer, daemon=True).start()
    try:
        # a moment more than the socket's own timeout, which ends the thread, too
        result, error = answers.get(timeout=timeout * 1.1)
    except queue.Empty:
        raise TimeoutError(f"stalled for {timeout:g} s") from None
    if isinstance(error, TimeoutError):
        raise TimeoutError(f"stalled for {timeout:g} s") from None
    if error is not None:
        raise _judged(error)
    return result


def _judged(error: BaseException) -> BaseException:
    """Refused in place of an error that stays; the libraries below fsspec have their own for most."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(status, int) and 400 <= status < 500 and status not in WORTH_RETRYING:
        return Refused(f"the server answers {status} {getattr(error, 'reason', '') or ''}".rstrip())
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        return Refused("there is no such file")
    if isinstance(error, PermissionError):
        return Refused(f"access is refused ({error})")
    return error


def _open_http(url: str, timeout: float) -> tuple[Any, int | None]:
    headers = {"User-Agent": "calligram", "Accept-Encoding": "identity"}
    try:
        request = urllib.request.Request(quote(url, safe=string.punctuation), headers=headers)
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        kind = OSError if error.code >= 500 or error.code in WORTH_RETRYING else Refused
        raise kind(f"the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        if type(error.reason).__name__ == "SSLCertVerificationError":
            raise Refused(f"its certificate is not valid: {error.reason}") from None
        raise error.reason if isinstance(error.reason, OSError) else error from None
    except (http.client.InvalidURL, ValueError) as error:
        raise Refused(f"not a URL: {error}") from None
    length = response.headers.get("Content-Length", "")
    return response, int(length) if length.isdecimal() else None


def _open_fsspec(url: str, timeout: float) -> tuple[Any, int | None]:
    system, path = _file_system(url)
    system.invalidate_cache()  # the length of a file that was written since
    file = system.open(path, "rb")
    return file, getattr(file, "size", None)


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise Refused(f"{scheme(url)}:// needs a library that is missing ({error})", EXTRA) from None
    except ValueError as error:
        raise Refused(str(error), READABLE) from None
    except Exception as error:  # some ask their server at once
        raise Refused(" ".join(str(error).split()) or type(error).__name__, READABLE) from None


class _Command:
    """A running command; what it starts ends with it."""

    def __init__(self, command: str):
        self.process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, start_new_session=True)

    def read(self, size: int) -> bytes:
        assert self.process.stdout is not None
        data = self.process.stdout.read(size)
        if not data:
            self.process.stdout.close()
            if status := self.process.wait():
                raise OSError(f"the command ends with status {status}")
        return data

    def close(self) -> None:
        """There is nothing left to do once all has been read."""

    def kill(self) -> None:
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _open_command(url: str, timeout: float) -> tuple[_Command, None]:
    return _Command(url.removeprefix(PIPE)), None


_OPENERS: dict[str, Callable[[str, float], tuple[Any, int | None]]] = {
    "http": _open_http,
    "https": _open_http,
    "pipe": _open_command,
}
