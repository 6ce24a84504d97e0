"""Check a data set against its manifest: every shard's bytes, and every picture, caption and JSON in it."""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from calligram.data import index, remote
from calligram.data.decode import EXTENSIONS, BadImage, decode_image
from calligram.data.index import IndexedSample, Member
from calligram.data.manifest import Manifest, Shard
from calligram.data.place import join
from calligram.data.scan import scan
from calligram.errors import UserError
from calligram.progress import Progress


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where."""

    shard: str  # as the manifest names it
    key: str | None  # of the sample; None: the shard as a whole
    message: str


def verify(folder: Path | str) -> Iterator[Problem]:
    """All that is wrong with a data set, shard by shard; raises UserError only where it has no manifest."""
    manifest = Manifest.load(folder)
    shards = [shard for shards in manifest.splits.values() for shard in shards]
    with Progress("verify samples", sum(shard.num_samples for shard in shards)) as progress:
        for shard in shards:
            for key, message in _check_shard(join(folder, shard.file), shard, len(manifest.class_names)):
                yield Problem(shard.file, key, message)
            progress.advance(shard.num_samples)


Found = Iterator[tuple[str | None, str]]  # key and message
Samples = dict[str, IndexedSample]
Result = TypeVar("Result")


def _check_shard(path: Path | str, shard: Shard, num_classes: int) -> Found:
    try:
        if isinstance(path, str):
            path = remote.fetch(path, shard.num_bytes, shard.sha256)
        data = path.read_bytes()
    except FileNotFoundError:
        yield None, "the file is missing"
        return
    except OSError as error:
        yield None, f"the file cannot be read: {error.strerror}"
        return
    except UserError as error:
        yield None, str(error)
        return
    yield from _check_bytes(data, shard)
    found, problem = _attempt(path, lambda: scan(path))
    if problem is not None:
        yield None, problem
    for finding in found.findings if found else []:
        yield finding.name, finding.reason
    scanned = _by_key(found.samples if found else [])
    if found is not None and len(scanned) != shard.num_samples:
        yield None, f"the tar has {len(scanned)} samples, the manifest says {shard.num_samples}"
    indexed = scanned
    if index.side_car(path).is_file():
        read, problem = _attempt(path, lambda: index.load(index.side_car(path)))
        indexed = _by_key(read or [])
        if problem is not None:
            yield None, problem
        elif scanned:
            yield from _compare(scanned, indexed)
    # where the tar cannot be walked any more, its index still tells where the samples were
    samples = scanned or indexed
    cut = {key: sample for key, sample in samples.items() if _end(sample) > len(data)}
    if cut:
        yield (
            next(iter(cut)),
            "is cut off" + (f", and so are the {len(cut) - 1} samples behind it" if len(cut) > 1 else ""),
        )
    for key, sample in samples.items():
        if key in cut:
            continue
        for message in _check_sample(data, sample, indexed.get(key, sample), num_classes):
            yield key, message


def _check_bytes(data: bytes, shard: Shard) -> Found:
    if len(data) != shard.num_bytes:
        yield None, f"the file has {len(data)} bytes, the manifest says {shard.num_bytes}"
    elif hashlib.sha256(data).hexdigest() != shard.sha256:
        yield None, "its bytes have changed: the sha256 is not the manifest's"


def _attempt(path: Path, read: Callable[[], Result]) -> tuple[Result | None, str | None]:
    try:
        return read(), None
    except UserError as error:
        return None, str(error).removeprefix(f"{path} ")


def _by_key(samples: Iterable[IndexedSample]) -> Samples:
    return {sample.key: sample for sample in samples}


def _compare(scanned: Samples, indexed: Samples) -> Found:
    """One problem a shard: an index that is out of date differs on every sample."""
    different = [key for key in scanned | indexed if _layout(scanned.get(key)) != _layout(indexed.get(key))]
    if different:
        more = f" (so are {len(different) - 1} more)" if len(different) > 1 else ""
        yield different[0], f"the index has it elsewhere than the tar{more}: `calligram data index` makes it anew"


def _layout(sample: IndexedSample | None) -> dict[str, tuple[int, int]] | None:
    return sample and {extension: (member.offset, member.size) for extension, member in sample.members.items()}


def _end(sample: IndexedSample) -> int:
    return max((member.offset + member.size for member in sample.members.values()), default=0)


def _check_sample(data: bytes, sample: IndexedSample, indexed: IndexedSample, num_classes: int) -> Iterator[str]:
    bodies: dict[str, bytes] = {}
    for extension, member in sample.members.items():
        body = data[member.offset : member.offset + member.size]
        bodies[extension] = body
        if _has_changed(body, member, indexed.members.get(extension)):
            yield f".{extension} has changed since it was indexed (its crc32)"
    yield from _check_picture(bodies)
    yield from _check_words(bodies, num_classes)


def _has_changed(body: bytes, member: Member, indexed: Member | None) -> bool:
    """A member that the index has elsewhere is another problem."""
    if indexed is None or (indexed.offset, indexed.size) != (member.offset, member.size):
        return False
    return zlib.crc32(body) != indexed.crc32


def _check_picture(bodies: dict[str, bytes]) -> Iterator[str]:
    extension = next((extension for extension in EXTENSIONS if extension in bodies), None)
    if extension is None:  # a tar of texts alone: from others, samples without a picture are left out
        return
    try:
        decode_image(bodies[extension])
    except BadImage as error:
        yield f".{extension}: {error}"


def _check_words(bodies: dict[str, bytes], num_classes: int) -> Iterator[str]:
    meta: Any = {}
    try:
        meta = json.loads(bodies.get("json", b"{}"))
    except ValueError:  # also where it is not UTF-8
        yield ".json is not JSON"
    if not isinstance(meta, dict):
        yield ".json is not an object"
        meta = {}
    yield from _check_captions(bodies, meta)
    label = meta.get("class")
    if label is None and "cls" in bodies:
        try:
            label = int(bodies["cls"])
        except ValueError:
            yield f".cls: {bodies['cls'][:20]!r} is not the number of a class"
            return
        if not num_classes:
            yield ".cls: the data set has no names of classes (classnames.txt)"
    if label is not None and num_classes and label not in range(num_classes):
        yield f"class {label!r} is not one of the {num_classes}, 0 to {num_classes - 1}"


def _check_captions(bodies: dict[str, bytes], meta: dict[str, Any]) -> Iterator[str]:
    captions, negatives = meta.get("captions", []), meta.get("negatives", [])
    if not captions and isinstance(meta.get("caption"), str):  # as img2dataset has it
        captions = [meta["caption"]]
    if not _are_sentences(captions):
        yield ".json: captions is not a list of sentences"
    elif not _are_sentences(negatives) or len(negatives) not in (0, max(1, len(captions))):
        yield ".json: negatives is not a list of as many sentences as there are captions"
    try:
        elsewhere = b"in the JSON or the class" if captions or "cls" in bodies else b""
        if not bodies.get("txt", elsewhere).decode().strip():
            yield "the caption is empty" if "txt" in bodies else "no caption (.txt)"
    except UnicodeDecodeError:
        yield "the caption is not UTF-8"


def _are_sentences(texts: Any) -> bool:
    return isinstance(texts, list) and all(isinstance(text, str) and text.strip() for text in texts)
