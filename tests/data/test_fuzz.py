"""Thousands of damaged shards: nothing hangs, nothing is executed, and no sample is lost without a word.

A tar is damaged either before it is indexed, as shards from elsewhere may be, or behind the back of an index.
"""

import io
import pickle
import random
import signal
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calligram.data.catalogue import catalogue
from calligram.data.plan import SampleRef
from calligram.data.scan import LOSSES, scan
from calligram.data.training import DataConfig, TrainingSet
from calligram.errors import UserError

NUM_SAMPLES, NUM_SHARDS = 8, 2
Members = list[tuple[str, bytes]]
Chance = random.Random


class Canary:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def picture(seed: int, kind: str) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((24, 24)).save(buffer, kind)
    return buffer.getvalue()


def new_members(shard: int) -> Members:
    found: Members = []
    for i in range(NUM_SAMPLES):
        key, extension, kind = f"{shard}-{i}", ("png", "jpg")[i % 2], ("PNG", "JPEG")[i % 2]
        found += [(f"{key}.{extension}", picture(shard * 100 + i, kind)), (f"{key}.txt", f"picture {key}".encode())]
    return found


def as_tar(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that says that it has 3,600 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# --- damage to the bytes of a tar


def cut(data: bytes, chance: Chance) -> bytes:
    return data[: chance.randrange(len(data))]


def flip_bits(data: bytes, chance: Chance) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 5, 100))):
        damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def zero_a_header(data: bytes, chance: Chance) -> bytes:
    start = chance.choice(headers(data))
    return data[:start] + bytes(512) + data[start + 512 :]


def garble_a_header(data: bytes, chance: Chance) -> bytes:
    """A field of a header, its checksum set right: what an attacker would send."""
    damaged = bytearray(data)
    start = chance.choice(headers(data))
    field, length = chance.choice(((0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155)))
    damaged[start + field : start + field + length] = chance.randbytes(length)
    damaged[start + 148 : start + 156] = b" " * 8
    damaged[start + 148 : start + 156] = b"%06o\0 " % sum(damaged[start : start + 512])
    return bytes(damaged)


def swap_blocks(data: bytes, chance: Chance) -> bytes:
    blocks = [data[i : i + 512] for i in range(0, len(data), 512)]
    a, b = chance.randrange(len(blocks)), chance.randrange(len(blocks))
    blocks[a], blocks[b] = blocks[b], blocks[a]
    return b"".join(blocks)


def headers(data: bytes) -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [info.offset for info in tar]


BYTES: list[Callable[[bytes, Chance], bytes]] = [cut, flip_bits, zero_a_header, garble_a_header, swap_blocks]


# --- damage to the members of a tar


def swap_members(members: Members, chance: Chance, canary: Path) -> None:
    a, b = chance.sample(range(len(members)), 2)
    members[a], members[b] = members[b], members[a]


def shuffle_members(members: Members, chance: Chance, canary: Path) -> None:
    chance.shuffle(members)


def lose_members(members: Members, chance: Chance, canary: Path) -> None:
    for _ in range(chance.randrange(1, 5)):
        members.pop(chance.randrange(len(members)))


def repeat_members(members: Members, chance: Chance, canary: Path) -> None:
    members.insert(chance.randrange(len(members)), chance.choice(members))


def rename_a_member(members: Members, chance: Chance, canary: Path) -> None:
    at = chance.randrange(len(members))
    key, _, extension = members[at][0].partition(".")
    names = [f"{key}.v1.{extension}", f".{key}", key, f"{key}.exe", f"../../{key}.{extension}", f"/{key}.{extension}"]
    names += [f"{key}.JPG", f"{key}.webp", f"{key}.json", f"é\udce9{key}.{extension}", f"{'x' * 200}/{key}.{extension}"]
    members[at] = (chance.choice(names), members[at][1])


def replace_a_body(members: Members, chance: Chance, canary: Path) -> None:
    at = chance.randrange(len(members))
    bodies = [
        b"",
        b"\xff\xfe\x80",
        b"{" * 50_000,
        bomb(),
        chance.randbytes(300),
        bytes(2000),
        pickle.dumps(Canary(canary)),
    ]
    members[at] = (members[at][0], chance.choice(bodies))


def add_a_pickle(members: Members, chance: Chance, canary: Path) -> None:
    key = chance.choice(members)[0].partition(".")[0]
    extension = chance.choice(("pkl", "pyd", "pth", "pt", "npy", "json", "txt.pkl", "cls", "jpg", "pickle"))
    members.insert(chance.randrange(len(members)), (f"{key}.{extension}", pickle.dumps(Canary(canary))))


def add_words(members: Members, chance: Chance, canary: Path) -> None:
    key = chance.choice(members)[0].partition(".")[0]
    bodies = [
        b"[1, 2]",
        b'{"captions": 3}',
        b'{"captions": [""]}',
        b'{"negatives": {}}',
        b"nan",
        b"1e999",
        b'{"a": NaN}',
    ]
    members.append((f"{key}.{chance.choice(('json', 'cls'))}", chance.choice(bodies)))


MEMBERS: list[Callable[[Members, Chance, Path], None]] = [
    swap_members,
    shuffle_members,
    lose_members,
    repeat_members,
    rename_a_member,
    replace_a_body,
    add_a_pickle,
    add_words,
]


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError(f"hung for {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def write(folder: Path, shard: int, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{shard}.tar"
    path.write_bytes(data)
    return path


def read_all(folder: Path) -> dict[tuple[int, int], dict]:
    """Every sample of a data set by shard and row, as training would get it."""
    data = TrainingSet(DataConfig(shards=folder, num_workers=0, max_bad=1), 24)
    counts = data.sources[0].counts.tolist()
    return {
        (shard, row): data[SampleRef(0, shard, row, 100 * shard + row)]
        for shard, count in enumerate(counts)
        for row in range(count)
    }


def damaged_before_the_index(folder: Path, chance: Chance, canary: Path) -> str:
    members = new_members(0)
    if chance.random() < 0.5:
        for _ in range(chance.choice((1, 1, 3))):
            chance.choice(MEMBERS)(members, chance, canary)
        data = as_tar(members)
    else:
        data = chance.choice(BYTES)(as_tar(members), chance)
    write(folder, 0, data)
    write(folder, 1, as_tar(new_members(1)))
    try:
        manifest = catalogue(folder)
    except UserError as error:
        assert f"{folder}/0.tar" in str(error) and "\n" not in str(error)
        return "refused"
    # nothing is lost in silence: each key that a person sees in the tar is a row or a finding
    found = scan(folder / "0.tar")
    told = {sample.key for sample in found.samples}
    told |= {name for finding in found.findings for name in (finding.name, "".join(split(finding.name)[:2]))}
    listed = {key + stem for name, _ in readable_members(data) for key, stem, extension in [split(name)] if extension}
    assert listed <= told
    entry = manifest.splits["train"][0]
    assert sum(entry.left_out.values()) == sum(finding.reason in LOSSES for finding in found.findings)
    assert entry.num_samples == len(found.samples)
    try:
        samples = read_all(folder)
    except UserError as error:
        assert "0.tar" in str(error) and "\n" not in str(error)
        return "refused later"
    assert len(samples) == sum(shard.num_samples for shard in manifest.splits["train"])
    assert not any(sample["replaced"] for (shard, _), sample in samples.items() if shard == 1)
    lost = "left out" if entry.left_out or found.findings else "whole"
    return "replaced" if any(sample["replaced"] for sample in samples.values()) else lost


def split(name: str) -> tuple[str, str, str]:
    """Folder, key and extension; hidden files and those without an extension are no samples."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return folder + slash, stem, extension if stem else ""


def readable_members(data: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(info.name, b"") for info in tar if info.isfile()]


def damaged_behind_the_index(folder: Path, chance: Chance, canary: Path, healthy: dict) -> str:
    members = new_members(0)
    path = write(folder, 0, as_tar(members))
    write(folder, 1, as_tar(new_members(1)))
    catalogue(folder)
    kind = chance.randrange(6)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        chance.choice(MEMBERS)(members, chance, canary)
        path.write_bytes(as_tar(members))
    else:
        path.write_bytes(chance.choice(BYTES)(path.read_bytes(), chance))
    try:
        samples = read_all(folder)
    except UserError as error:
        assert "0.tar" in str(error) and "\n" not in str(error)
        return "refused"
    replaced = 0
    for place, sample in samples.items():
        if sample["replaced"]:
            replaced += 1
        else:  # in its place, and to the last bit what was indexed
            assert sample["caption"] == healthy[place]["caption"]
            assert torch.equal(sample["image"], healthy[place]["image"])
    assert samples.keys() == healthy.keys()
    return "replaced" if replaced else "whole"


def fuzz(folder: Path, count: int) -> dict[str, int]:
    canary = folder / "canary"
    write(folder / "healthy", 0, as_tar(new_members(0)))
    write(folder / "healthy", 1, as_tar(new_members(1)))
    catalogue(folder / "healthy")
    healthy = read_all(folder / "healthy")
    outcomes: dict[str, int] = {}
    for number in range(count):
        chance = random.Random(number)
        with time_limit(60):
            try:
                if number % 2:
                    outcome = "behind: " + damaged_behind_the_index(folder / f"{number}", chance, canary, healthy)
                else:
                    outcome = "before: " + damaged_before_the_index(folder / f"{number}", chance, canary)
            except Exception as error:
                raise AssertionError(f"mutation {number} in {folder / str(number)}") from error
        assert not canary.exists(), f"mutation {number} was executed"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


def test_two_hundred_damaged_shards(tmp_path):
    outcomes = fuzz(tmp_path, 200)
    assert sum(outcomes.values()) == 200
    assert {"before: refused", "before: left out", "behind: refused", "behind: replaced"} <= set(outcomes)


@pytest.mark.slow
@pytest.mark.timeout(1100)
def test_four_thousand_damaged_shards(tmp_path):
    outcomes = fuzz(tmp_path, 4000)
    print(outcomes)
    assert sum(outcomes.values()) == 4000


def test_the_canary_sings_when_it_is_unpickled(tmp_path):
    """Without this the absence of its file would prove nothing."""
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))  # noqa: S301 - the very thing that must not happen elsewhere
    assert (tmp_path / "canary").exists()
