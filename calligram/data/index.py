"""Where each member of a tar lies, so that any sample is one ``pread`` away.

The side-car ``NAME.tar.index.json`` is written with the shard; for a tar that came from elsewhere the
index is made by walking its headers.
"""

import json
import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from calligram.errors import UserError

SUFFIX = ".index.json"


@dataclass(frozen=True)
class Member:
    """Bytes of one file inside a tar."""

    offset: int
    size: int
    crc32: int | None = None


@dataclass(frozen=True)
class IndexedSample:
    """The members that share a key, by extension ("png", "txt", "json")."""

    key: str
    members: dict[str, Member]


def scan(tar: Path) -> list[IndexedSample]:
    """Walk a tar and group its members by WebDataset's rule: the key ends at the first dot of the base name."""
    samples: dict[str, dict[str, Member]] = {}
    try:
        with tar.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                key, extension = _split(info.name)
                if not info.isfile() or not key or not extension:
                    continue
                body = os.pread(file.fileno(), info.size, info.offset_data)
                if len(body) != info.size:
                    raise UserError(f"{tar} is cut off inside {info.name}: write or fetch it again")
                members = samples.setdefault(key, {})
                if extension in members:
                    raise UserError(f"{tar} has {info.name} twice: keys must be unique within a shard")
                members[extension] = Member(info.offset_data, info.size, zlib.crc32(body))
            _check_end(tar, file.fileno(), archive)
    except tarfile.TarError as error:
        raise UserError(f"{tar} is not a readable tar: {error}") from None
    return [IndexedSample(key, members) for key, members in samples.items()]


def _split(name: str) -> tuple[str, str]:
    """Key and extension as webdataset has them; one is empty for hidden files and names without a dot."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return (folder + slash + stem if stem else ""), extension.lower()


def _check_end(tar: Path, file: int, archive: tarfile.TarFile) -> None:
    """Refuse a tar without its closing zeros: Python's tarfile takes a cut or a damaged header for the end."""
    last = archive.getmembers()[-1:]
    end = last[0].offset_data + -(-last[0].size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE if last else 0
    size = os.fstat(file).st_size
    if size < end + 2 * tarfile.BLOCKSIZE or os.pread(file, size - end, end).strip(b"\0"):
        raise UserError(f"{tar} is cut off or damaged behind byte {end:,}: write or fetch it again")


def write(tar: Path) -> list[IndexedSample]:
    """Scan a tar and store the index beside it."""
    samples = scan(tar)
    rows = [[s.key, {e: [m.offset, m.size, m.crc32] for e, m in s.members.items()}] for s in samples]
    side_car(tar).write_text(json.dumps(rows, separators=(",", ":")), encoding="utf-8")
    return samples


def read(tar: Path) -> list[IndexedSample]:
    """The index of a tar: from its side-car, or by a scan where there is none."""
    path = side_car(tar)
    if not tar.is_file():
        raise UserError(f"shard {tar} is missing")
    if not path.is_file():
        return scan(tar)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [IndexedSample(key, {e: Member(*m) for e, m in members.items()}) for key, members in rows]
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path} is not an index: delete it, and it is made again") from None


def side_car(tar: Path) -> Path:
    return tar.with_name(tar.name + SUFFIX)
