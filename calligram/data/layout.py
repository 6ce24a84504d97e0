"""A data set as CLIP_benchmark has them: numbered tars, their number, names of classes and templates in text files."""

import os
from pathlib import Path

from calligram.data.manifest import Manifest
from calligram.data.place import is_url, join
from calligram.errors import UserError


def lay_out(data: Path | str, out: Path) -> list[str]:
    """Write such a folder, with links to the tars instead of copies; the names of its splits.

    A data set without classes becomes one for retrieval. Raises UserError where a tar is not on this machine, or
    ``out`` is in use.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not empty: choose another --out")
    manifest = Manifest.load(data)
    splits = {split: shards for split, shards in manifest.splits.items() if shards}
    tars = {split: [_local(data, shard.file) for shard in shards] for split, shards in splits.items()}
    for split, paths in tars.items():
        (out / split).mkdir(parents=True)
        for number, path in enumerate(paths):
            (out / split / f"{number}.tar").symlink_to(os.path.relpath(path, (out / split).resolve()))
        (out / split / "nshards.txt").write_text(f"{len(paths)}\n")
    if manifest.class_names:
        _write_lines(out / "classnames.txt", manifest.class_names)
        _write_lines(
            out / "zeroshot_classification_templates.txt", [t.replace("{}", "{c}") for t in manifest.templates]
        )
    else:
        _write_lines(out / "dataset_type.txt", ["retrieval"])
    return list(tars)


def _local(data: Path | str, file: str) -> Path:
    path = join(data, file)
    if is_url(path):
        raise UserError(f"{path} is not on this machine: only a local data set can be laid out")
    return Path(path).resolve()


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
