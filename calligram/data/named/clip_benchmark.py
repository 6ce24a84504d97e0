"""CLIP_benchmark's layout: ``test/0.tar``, their number in ``test/nshards.txt``, names and templates in text files.

The tars are read where they lie. The manifest is written into the cache, and nothing into the folder itself.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from calligram.data import remote
from calligram.data.catalogue import CLASS_NAMES, TEMPLATES, check_samples, describe, describe_at
from calligram.data.manifest import Manifest, Shard
from calligram.data.named import splits as split_names
from calligram.data.named.rows import PHOTO, unknown
from calligram.data.named.store import keep
from calligram.data.place import join
from calligram.errors import UserError
from calligram.progress import track

NUMBER, KIND = "nshards.txt", "dataset_type.txt"
KINDS = (
    "classification",
    "retrieval",
)  # its third, multilabel, has its classes as NumPy arrays, which are not read yet
LOOKED_FOR = (split_names.TRAIN, *split_names.TESTS)  # a web server cannot be asked for all it has
# a repository's page on the Hugging Face hub, as people copy it from a browser
_HUB_PAGE = re.compile(r"(?P<repo>https?://[^/]+/datasets/[^/]+/[^/]+?)(?:/(?:tree|blob|raw)/(?P<rest>.+))?/?")

Files = dict[str, str]  # the layout's text files: relative path → content


def is_local(folder: Path) -> bool:
    """Whether a folder has splits with a count of shards."""
    return next(folder.glob(f"*/{NUMBER}"), None) is not None


def open_local(folder: Path) -> Path:
    """The folder of a manifest for a layout on this machine. Raises UserError where a part of it is missing."""
    there = sorted(path.parent.name for path in folder.glob(f"*/{NUMBER}"))
    files = _read(folder, there)
    tars = {split: [Path(tar) for tar in _tars(folder, split, files)] for split in there}
    for tar in (tar for paths in tars.values() for tar in paths):
        if not tar.is_file():
            raise UserError(f"{tar} is missing, though {NUMBER} beside it counts it: fetch or write it again")
    stats = {str(tar): tar.stat() for paths in tars.values() for tar in paths}
    facts = [str(folder.resolve()), files, [(tar, each.st_size, each.st_mtime_ns) for tar, each in stats.items()]]

    def write(out: Path) -> None:
        named = split_names.rename(there)
        _write(out, str(folder), files, {ours: [_link(tar, out) for tar in tars[name]] for ours, name in named.items()})

    return keep(folder.resolve().name, ["clip-benchmark", *facts], write)


def open_far(text: str) -> Path | None:
    """As :func:`open_local`, for ``URL`` or ``URL#train+test``; None where the URL is none of this layout.

    The split to test on alone is fetched where none is named, since the one to train on may be a thousand times as
    large.
    """
    where, wanted = split_names.cut(text)
    url = _plain(where.rstrip("/"))
    counts = {split: remote.read_if_there(str(join(url, f"{split}/{NUMBER}"))) for split in (*LOOKED_FOR, *wanted)}
    there = [split for split, count in counts.items() if count is not None]
    if not there:
        return None
    named = split_names.choose(there, wanted, where)
    files = _read(url, list(named.values()))

    def write(out: Path) -> None:
        tars = {ours: [str(tar) for tar in _tars(url, name, files)] for ours, name in named.items()}
        shards = {ours: [describe_at(tar, out) for tar in track(urls, f"fetch {ours}")] for ours, urls in tars.items()}
        _write(out, where, files, shards)

    name = re.split(r"[?#]", re.sub("/resolve/[^/]+$", "", url))[0].rstrip("/").rpartition("/")[2]
    return keep(name, ["clip-benchmark", url, named, files], write)


def _plain(url: str) -> str:
    """Where the files of a repository's page on the hub are; any other URL as it is."""
    page = _HUB_PAGE.fullmatch(url)
    return f"{page['repo']}/resolve/{page['rest'] or 'main'}" if page and "/resolve/" not in url else url


def _read(folder: Path | str, names: Sequence[str]) -> Files:
    """The text files that are there. Raises UserError where one is not what it should be."""
    files: Files = {}
    for name in (CLASS_NAMES, TEMPLATES, KIND, *(f"{split}/{NUMBER}" for split in names)):
        path = join(folder, name)
        if isinstance(path, Path):
            data = path.read_bytes() if path.is_file() else None
        else:
            data = remote.read_if_there(path)
        if data is None:
            continue
        try:
            files[name] = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UserError(f"{path} is not UTF-8 text: write it again") from None
    kind = _kind(files)
    if kind not in KINDS:
        raise UserError(f"{join(folder, KIND)} says {kind!r}: it can say {', '.join(KINDS)}")
    if kind != "retrieval" and CLASS_NAMES not in files:
        raise UserError(
            f"{folder} has neither {CLASS_NAMES}, a name a line, nor a {KIND} that says retrieval: write one of them"
        )
    return files


def _kind(files: Files) -> str:
    return files.get(KIND, KINDS[0]).strip().lower()


def _tars(folder: Path | str, split: str, files: Files) -> list[Path | str]:
    said = files[f"{split}/{NUMBER}"].strip()
    if not said.isdecimal() or not int(said):
        raise UserError(f"{join(folder, f'{split}/{NUMBER}')} says {said[:20]!r}: write the number of tars beside it")
    return [join(folder, f"{split}/{number}.tar") for number in range(int(said))]


def _link(tar: Path, out: Path) -> Shard:
    """The entry of a tar elsewhere on this machine; its index lies beside a link to it."""
    split = tar.parent.name
    (out / split).mkdir(exist_ok=True)
    link = out / split / tar.name
    os.symlink(tar.resolve(), link)
    try:
        return describe(link, f"{split}/{tar.name}")
    except UserError as error:
        raise UserError(str(error).replace(str(link), str(tar))) from None


def _write(out: Path, where: str, files: Files, shards: dict[str, list[Shard]]) -> None:
    for split, entries in shards.items():
        check_samples(entries, f"{split} of {where}")
    kind = _kind(files)
    templates = [line.strip().replace("{c}", "{}") for line in files.get(TEMPLATES, "").splitlines() if line.strip()]
    is_classed = kind != "retrieval"
    Manifest(
        name=out.name.removeprefix(".").removesuffix(".new"),
        licence=unknown(where),
        source={"type": "clip-benchmark", "place": where, "kind": kind},
        # a line is a class: an empty one in the middle counts, too
        class_names=[line.strip() for line in files[CLASS_NAMES].rstrip().splitlines()] if is_classed else [],
        templates=(templates or [PHOTO]) if is_classed else ["{}"],
        txt="a caption a line" if kind == "retrieval" else "caption",
        splits=shards,
    ).save(out)
