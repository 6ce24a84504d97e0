"""The IDX format of the MNIST family: a small header with the dimensions, then plain bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from calligram.errors import UserError

UNSIGNED_BYTE = 0x08  # the only type of value that these data sets use
MAX_BYTES = 1 << 30  # of values; a header that promises more is not believed


def read_idx(path: Path, num_dimensions: int) -> np.ndarray:
    """A read-only uint8 array from an IDX file, gzipped where the name ends in ``.gz``.

    UserError names the file if its header or its length is not what IDX with ``num_dimensions`` has.
    """
    header_length = 4 + 4 * num_dimensions
    content = _read(path, header_length + MAX_BYTES)
    if len(content) < header_length:
        raise _bad(path, f"{len(content)} bytes are too short for its header of {header_length}")
    magic, *dimensions = struct.unpack_from(f">{1 + num_dimensions}I", content)
    expected_magic = UNSIGNED_BYTE << 8 | num_dimensions
    if magic != expected_magic:
        raise _bad(path, f"it starts with 0x{magic:08x}, not 0x{expected_magic:08x}")
    num_values = math.prod(dimensions)
    if len(content) - header_length != num_values:
        found = f"{len(content) - header_length} bytes of values follow"
        raise _bad(path, f"its header says {' × '.join(map(str, dimensions))}, but {found}")
    return np.frombuffer(content, np.uint8, offset=header_length).reshape(dimensions)


def _read(path: Path, limit: int) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _bad(path, str(error)) from error


def _bad(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not a whole IDX file ({reason}): fetch it again")
