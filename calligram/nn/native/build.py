"""Compile the C source with the machine's own compiler, once, and load it.

What ``torch.compile`` needs, too, but two seconds of it in place of a minute; where there is no compiler, callers go
without and say so.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("decoder.c")
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-std=gnu11", "-shared", "-fPIC")
SECONDS = 120


class NoCompilerError(Exception):
    """Why there is no library."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, or None, which is told once with the reason."""
    try:
        return load(compiled(SOURCE))
    except (NoCompilerError, OSError) as error:
        log.warning("the fast step cannot be compiled and the plain one stands in: %s", error)
        return None


def load(path: Path) -> ctypes.CDLL:
    import torch  # noqa: F401  # so that both use the OpenMP that torch brings, and the threads of it

    functions = ctypes.CDLL(str(path))
    functions.decoder_pass.restype = None
    return functions


def compiled(source: Path, folder: Path | None = None) -> Path:
    """The shared library of a source for this very processor, from the cache of the user where it has been made before.

    Raises NoCompilerError.
    """
    compiler = find_compiler()
    sources = b"".join(path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h"))))
    key = hashlib.sha256(sources + repr((compiler, FLAGS, processor())).encode()).hexdigest()[:16]
    path = (folder or cache_folder()) / f"{source.stem}-{key}.so"
    if not path.is_file():
        compile_to(compiler, source, path)
    return path


def find_compiler() -> str:
    """``$CC``, else cc, gcc or clang."""
    for name in filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")):
        if found := shutil.which(name):
            return found
    raise NoCompilerError("no C compiler found: install gcc or clang, or name one in $CC")


def compile_to(compiler: str, source: Path, path: Path) -> None:
    """Into a file beside ``path`` that is renamed at the end, so that two processes may do it at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=path.parent)
    except OSError as error:
        raise NoCompilerError(f"{path.parent} cannot be written to: {error.strerror}") from None
    with folder as aside:
        target = Path(aside) / path.name
        # Apple's compiler knows no OpenMP: one thread is better than none
        for openmp in (["-fopenmp"], []):
            command = [compiler, *FLAGS, *openmp, str(source), "-o", str(target), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            if done.returncode == 0:
                target.replace(path)
                return
    first_line = (done.stderr.strip().splitlines() or ["no message"])[0]
    raise NoCompilerError(f"{compiler} failed: {first_line}")


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "calligram"


def processor() -> str:
    """What tells processors apart: a home folder may be shared by machines that differ."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    facts = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return "\n".join([platform.machine(), platform.processor(), *facts])
