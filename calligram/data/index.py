"""Where each member of a tar lies, so that any sample is one ``pread`` away.

The side-car ``NAME.tar.index.json`` is written with the shard; for a tar that came from elsewhere the
index is made by walking its headers.
"""

import json
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
    data = tar.read_bytes()
    try:
        with tarfile.open(tar, "r:") as archive:
            for info in archive:
                if not info.isfile():
                    continue
                folder, slash, base = info.name.rpartition("/")
                stem, _, extension = base.partition(".")
                body = data[info.offset_data : info.offset_data + info.size]
                if len(body) != info.size:
                    raise UserError(f"{tar} is cut off inside {info.name}: write or fetch it again")
                members = samples.setdefault(folder + slash + stem, {})
                if extension in members:
                    raise UserError(f"{tar} has {info.name} twice: keys must be unique within a shard")
                members[extension] = Member(info.offset_data, info.size, zlib.crc32(body))
    except tarfile.TarError as error:
        raise UserError(f"{tar} is not a readable tar: {error}") from None
    return [IndexedSample(key, members) for key, members in samples.items()]


def write(tar: Path) -> list[IndexedSample]:
    """Scan a tar and store the index beside it."""
    samples = scan(tar)
    rows = [[s.key, {e: [m.offset, m.size, m.crc32] for e, m in s.members.items()}] for s in samples]
    side_car(tar).write_text(json.dumps(rows, separators=(",", ":")))
    return samples


def read(tar: Path) -> list[IndexedSample]:
    """The index of a tar: from its side-car, or by a scan where there is none."""
    path = side_car(tar)
    if not tar.is_file():
        raise UserError(f"shard {tar} is missing")
    if not path.is_file():
        return scan(tar)
    try:
        rows = json.loads(path.read_text())
        return [IndexedSample(key, {e: Member(*m) for e, m in members.items()}) for key, members in rows]
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path} is not an index: delete it, and it is made again") from None


def side_car(tar: Path) -> Path:
    return tar.with_name(tar.name + SUFFIX)
