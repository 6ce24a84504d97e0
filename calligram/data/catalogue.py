"""Shards that are there already → index side-cars and a manifest."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from calligram.data import index, remote
from calligram.data.manifest import FILE_NAME, Manifest, Shard
from calligram.data.patterns import expand
from calligram.data.place import PIPE, is_url, join, scheme
from calligram.data.scan import scan
from calligram.errors import UserError
from calligram.progress import track

CLASS_NAMES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"  # as CLIP_benchmark writes them


def describe(tar: Path, name: str, strict: bool = False) -> Shard:
    """Write the index beside a tar and return its entry for the manifest, in which it is called ``name``.

    With ``strict``, raises UserError where anything in the tar is not as it should be.
    """
    found = scan(tar)
    if strict and found.findings:
        first = found.findings[0]
        raise UserError(f"{tar}: {first.name}: {first.reason} ({len(found.findings)} such findings in this shard)")
    made = found.index()
    index.save(made, index.side_car(tar))
    return Shard(
        file=name,
        num_samples=len(made),
        num_bytes=made.num_bytes,
        sha256=sha256_of(tar),
        left_out=made.left_out,
    )


def catalogue(folder: Path, strict: bool = False) -> Manifest:
    """Index every tar below a folder and write the manifest; each folder in it is a split, tars beside it are "train".

    Where there is a manifest already, its shards are indexed anew. Raises UserError where one has changed since.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder that the .tar files lie in")
    if (folder / FILE_NAME).is_file():
        return _renew(folder, strict)
    tars = sorted(path for path in folder.rglob("*.tar") if path.is_file())
    if not tars:
        raise UserError(f"{folder} has no shards: no {FILE_NAME} and no .tar in it")
    splits: dict[str, list[Shard]] = {}
    for tar in track(tars, "index shards"):
        name = tar.relative_to(folder)
        split = name.parts[0] if len(name.parts) > 1 else "train"
        splits.setdefault(split, []).append(describe(tar, name.as_posix(), strict))
    check_samples([shard for shards in splits.values() for shard in shards], str(folder))
    manifest = _manifest(folder, splits)
    manifest.save(folder)
    return manifest


def gather(patterns: Sequence[str], out: Path, split: str, strict: bool = False, allow_pipe: bool = False) -> Manifest:
    """Index the shards that patterns name, wherever they lie, and write the manifest of one split of them in ``out``.

    A manifest that is there keeps its other splits. What is not on this machine is downloaded once and stays in the
    cache.
    """
    shards = expand(patterns)
    pipe = next((name for name in shards if name.startswith(PIPE)), None)
    if pipe is not None and not allow_pipe:
        raise UserError(f"{pipe} would run a command in a shell: give --allow-pipe if that is what you want")
    manifest = Manifest.load(out) if (out / FILE_NAME).is_file() else None
    if manifest is not None and manifest.splits.get(split):
        raise UserError(f"{out / FILE_NAME} has a split {split!r} already: give another --split or --out, or delete it")
    for name in {scheme(name): name for name in shards if is_url(name)}.values():
        remote.check(name)
    entries = [describe_at(name, out, strict, allow_pipe) for name in track(shards, "index shards")]
    check_samples(entries, ", ".join(patterns[:3]))
    manifest = manifest or _manifest(out, {})
    manifest = manifest.model_copy(update={"splits": {**manifest.splits, split: entries}})
    manifest.save(out)
    return manifest


def describe_at(name: str, out: Path, strict: bool = False, allow_pipe: bool = False) -> Shard:
    """The entry of a shard, a path or a URL, for a manifest in ``out``; its index lies beside it or its copy."""
    if not is_url(name):
        return describe(Path(name), _seen_from(out, Path(name)), strict)
    tar = remote.fetch(name, allow_pipe=allow_pipe)
    try:
        return describe(tar, name, strict)
    except UserError as error:
        tar.unlink(missing_ok=True)  # a web page, say: nobody asks for it again
        raise UserError(str(error).replace(str(tar), name)) from None


def check_samples(shards: Sequence[Shard], name: str) -> None:
    """A manifest of nothing would only fail later, and say less."""
    if any(shard.num_samples for shard in shards):
        return
    left_out = sum((Counter(shard.left_out) for shard in shards), Counter())
    why = "; ".join(f"{count} left out: {reason}" for reason, count in left_out.most_common()) or "the tars are empty"
    raise UserError(
        f"{name} has no sample that can be used ({why}): a sample is a picture and .txt, .json or .cls of its name"
    )


def _seen_from(out: Path, tar: Path) -> str:
    """Relative to the manifest where both may move together; else it is named from the root."""
    folder, tar = out.resolve(), tar.resolve()
    near = tar.is_relative_to(folder) or tar.is_relative_to(folder.parent)
    return Path(os.path.relpath(tar, folder)).as_posix() if near else str(tar)


def _renew(folder: Path, strict: bool) -> Manifest:
    manifest = Manifest.load(folder)
    shards = [shard for shards in manifest.splits.values() for shard in shards]
    for shard in track(shards, "index shards"):
        where = join(folder, shard.file)
        tar = where if isinstance(where, Path) else remote.fetch(where, shard.num_bytes, shard.sha256)
        if not tar.is_file():
            raise UserError(f"shard {tar} is missing: fetch or make the data set again")
        if sha256_of(tar) != shard.sha256:  # before an index is written that would take the damage for granted
            raise UserError(
                f"{where} has changed since {FILE_NAME} was written: fetch or make it again, "
                f"or delete {folder / FILE_NAME} to take the shards as they are"
            )
        describe(tar, shard.file, strict)
    return manifest


def sha256_of(tar: Path) -> str:
    with tar.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(folder: Path, splits: dict[str, list[Shard]]) -> Manifest:
    return Manifest(
        name=folder.resolve().name,
        licence="unknown",
        class_names=_lines(folder / CLASS_NAMES),
        templates=[template.replace("{c}", "{}") for template in _lines(folder / TEMPLATES)] or ["{}"],
        splits=splits,
    )


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: write it again") from None
