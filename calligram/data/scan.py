"""Walk a tar that anybody may have written, and find the samples in it.

Keys follow WebDataset's rule: the key ends at the first dot of the base name, so ``a.v1.jpg`` is the member ``v1.jpg``
of the sample ``a``.
"""

import os
import tarfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from calligram.data import index
from calligram.data.decode import EXTENSIONS
from calligram.data.index import Index, IndexedSample, Member
from calligram.errors import UserError

TEXTS = ("txt", "json", "cls")  # any of these says something about a picture
UNSAFE = frozenset({"pkl", "pickle", "pyd", "pth", "pt", "ckpt"})  # other readers run what is in them
CHUNK = 2**24  # bytes read at once

NO_PICTURE, NO_TEXT = "no picture", "no caption or class"
TWICE, APART, LINK, NEVER_READ = "key twice", "members apart", "not a file", "never decoded"
LOSSES = (NO_PICTURE, NO_TEXT, TWICE)  # of these findings, the ones that cost a sample


@dataclass(frozen=True)
class Finding:
    """Something in a tar that is not as it should be."""

    name: str  # of the sample, or of the member
    reason: str


@dataclass
class Scan:
    """What a tar holds: samples with a picture and words, and what else there was."""

    samples: list[IndexedSample] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    num_bytes: int = 0

    def index(self) -> Index:
        lost = Counter(finding.reason for finding in self.findings if finding.reason in LOSSES)
        return index.build(self.samples, self.num_bytes, dict(lost))


def scan(tar: Path) -> Scan:
    """Find the samples of a tar. A tar without a single picture holds texts alone, which a decoder can learn, too.

    Raises UserError for a tar that is cut off or damaged: none of it can be trusted.
    """
    found = Scan()
    members: dict[str, dict[str, Member]] = {}
    previous = None
    try:
        with tar.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            found.num_bytes = os.fstat(file.fileno()).st_size
            end = 0
            for info in archive:
                if not end <= info.offset_data <= info.offset_data + info.size <= found.num_bytes:
                    raise UserError(f"{tar} is cut off inside {info.name}: write or fetch it again")
                end = info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                key, extension = _split(info.name)
                if info.isdir() or not key or not extension:
                    continue
                if not info.isreg() or info.issparse():
                    found.findings.append(Finding(info.name, LINK))
                    continue
                if extension.rpartition(".")[2] in UNSAFE:
                    found.findings.append(Finding(info.name, NEVER_READ))
                    continue
                if key in members and key != previous:
                    found.findings.append(Finding(info.name, APART))
                previous = key
                group = members.setdefault(key, {})
                if extension in group:
                    found.findings.append(Finding(info.name, TWICE))  # the first one stays
                    continue
                group[extension] = Member(info.offset_data, info.size, _crc32(file.fileno(), info))
            _check_end(tar, file.fileno(), end, found.num_bytes)
    except FileNotFoundError:
        raise UserError(f"shard {tar} is missing: fetch or make the data set again") from None
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{tar} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # tarfile raises much beside TarError on bytes that are no tar
        raise UserError(f"{tar} is not a readable tar: {error}") from None
    texts_alone = not any(e.rpartition(".")[2] in EXTENSIONS for group in members.values() for e in group)
    for key, group in members.items():
        _keep(found, tar, key, group, texts_alone)
    return found


def _keep(found: Scan, tar: Path, key: str, group: dict[str, Member], texts_alone: bool) -> None:
    if not texts_alone and not any(extension in group for extension in EXTENSIONS):
        dotted = next((e for e in group if "." in e and e.rpartition(".")[2] in EXTENSIONS), None)
        if dotted is not None:
            raise UserError(
                f"{tar}: {key}.{dotted} is the member {dotted!r} of a sample {key!r}, since a key ends at the first "
                f"dot of a file's name: rename such files to have one dot"
            )
        found.findings.append(Finding(key, NO_PICTURE))
    elif not any(extension in group for extension in TEXTS):
        found.findings.append(Finding(key, NO_TEXT))
    else:
        found.samples.append(IndexedSample(key, group))


def _split(name: str) -> tuple[str, str]:
    """Key and extension as webdataset has them; one is empty for hidden files and names without a dot."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return (folder + slash + stem if stem else ""), extension.lower()


def _crc32(file: int, info: tarfile.TarInfo) -> int:
    crc, at, end = 0, info.offset_data, info.offset_data + info.size
    while at < end:
        data = os.pread(file, min(CHUNK, end - at), at)
        if not data:
            raise UserError(f"{info.name} ends early: the file changed while it was read")
        crc, at = zlib.crc32(data, crc), at + len(data)
    return crc


def _check_end(tar: Path, file: int, end: int, size: int) -> None:
    """Refuse a tar without its closing zeros: Python's tarfile takes a cut or a damaged header for the end."""
    zeros = size >= end + 2 * tarfile.BLOCKSIZE
    while zeros and end < size:
        data = os.pread(file, min(CHUNK, size - end), end)
        zeros, end = bool(data) and not data.strip(b"\0"), end + len(data)
    if not zeros:
        raise UserError(f"{tar} is cut off or damaged behind byte {end:,}: write or fetch it again")
