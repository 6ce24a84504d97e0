"""``hf:OWNER/NAME[:CONFIG][@REVISION]``: data sets of the Hugging Face hub, by the Parquet files that it has of each.

The hub answers over HTTP: which files there are, then the files. HF_ENDPOINT names another hub, as for
huggingface_hub. Files of a named revision are the repository's own; else they are those that the hub itself converts
any data set to.
"""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from calligram.data import remote
from calligram.data.named import splits as split_names
from calligram.data.named.parquet_rows import check_library, open_rows
from calligram.data.named.rows import PHOTO, Rows, unknown, write
from calligram.data.named.store import keep
from calligram.errors import UserError
from calligram.progress import track

ENDPOINT = "HF_ENDPOINT"
_NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[^@#]+))?(?:@(?P<revision>[^#]+))?")
# data/test-00000-of-00002.parquet, plain_text/test/0000.parquet: folders, then the split
_SPLIT = re.compile(r"([A-Za-z]\w*?)(?:[-.]\d.*)?(?:/\d+)?")

Files = dict[str, dict[str, list[str]]]  # config → split → URLs


class _Set(NamedTuple):
    """A data set as a person names it."""

    name: str
    config: str | None
    revision: str | None


def open_named(text: str) -> Path:
    """The folder of a manifest; the Parquet files are fetched and their pictures written once, byte for byte.

    The split to test on alone, unless others are named: ``hf:OWNER/NAME#train+test``. Raises UserError where there is
    no such data set, or it is not one of pictures with classes or captions.
    """
    words, wanted = split_names.cut(text)
    found = _NAME.fullmatch(words)
    if found is None:
        raise UserError(f"hf:{text} is no name of the hub: write hf:OWNER/NAME, hf:OWNER/NAME:CONFIG or with @REVISION")
    asked = _Set(**found.groupdict())
    check_library(f"hf:{words}")
    facts = _facts(asked)
    by_split = _pick(asked, _repository_files(asked, facts) if asked.revision else _converted_files(asked))
    named = split_names.choose(list(by_split), wanted, f"hf:{words}")
    urls = {ours: by_split[theirs] for ours, theirs in named.items()}

    def fill(out: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=".parquet-", dir=out.parent) as aside:
            _write(urls, Path(aside), out, asked, facts)

    return keep(asked.name.rpartition("/")[2], ["hub", asked, facts.get("sha"), urls], fill)


def endpoint() -> str:
    """The hub's address."""
    return (os.environ.get(ENDPOINT) or "https://huggingface.co").rstrip("/")


def _write(urls: dict[str, list[str]], aside: Path, out: Path, asked: _Set, facts: dict[str, Any]) -> None:
    rows, names = {}, ()
    for split, places in urls.items():
        paths = [remote.fetch(url) for url in track(places, f"fetch {split}")]
        try:
            rows[split] = open_rows(paths, aside / split, f"hf:{asked.name}")
        finally:
            for path in paths:  # the pictures are kept as shards
                path.unlink(missing_ok=True)
        names = rows[split].class_names
    page = f"{endpoint()}/datasets/{asked.name}"
    source = Rows(names=names, sentences=(PHOTO,) if names else ("{}",), rows=rows)
    origin = {"type": "hub", **asked._asdict(), "sha": facts.get("sha"), "files": urls}
    write(source, out, asked.name, _licence(facts) or unknown(page), origin)


def _ask(url: str, asked: _Set) -> Any:
    """What the hub answers."""
    try:
        return json.loads(remote.read(url))
    except remote.NotThere as error:
        raise UserError(
            f"hf:{asked.name} is not to be had ({error}): check its name, OWNER/NAME as in the address of its page; "
            f"one that asks for consent must be fetched by hand and given as a folder"
        ) from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise UserError(f"hf:{asked.name} cannot be fetched ({error}); {ENDPOINT} names another hub") from None
        raise UserError(f"{url} does not answer as the Hugging Face hub does: check {ENDPOINT}") from None


def _facts(asked: _Set) -> dict[str, Any]:
    """What the hub says of the repository: sha, cardData, siblings."""
    revision = f"/revision/{quote(asked.revision, safe='')}" if asked.revision else ""
    found = _ask(f"{endpoint()}/api/datasets/{asked.name}{revision}", asked)
    if not isinstance(found, dict):
        raise UserError(f"{endpoint()} does not answer as the Hugging Face hub does: check {ENDPOINT}")
    return found


def _converted_files(asked: _Set) -> Files:
    found = _ask(f"{endpoint()}/api/datasets/{asked.name}/parquet", asked)
    if not isinstance(found, dict) or not all(isinstance(splits, dict) for splits in found.values()):
        raise UserError(f"{endpoint()} does not answer as the Hugging Face hub does: check {ENDPOINT}")
    return found


def _repository_files(asked: _Set, facts: dict[str, Any]) -> Files:
    """The Parquet files of a revision, sorted into configs (folders but ``data``) and splits by their names."""
    names = sorted(each["rfilename"] for each in facts.get("siblings") or [] if each["rfilename"].endswith(".parquet"))
    root = f"{endpoint()}/datasets/{asked.name}/resolve/{quote(str(facts.get('sha') or asked.revision), safe='')}"
    found: Files = {}
    for name in names:
        *folders, stem = name.removesuffix(".parquet").split("/")
        if stem.isdecimal() and folders:  # the hub's own: CONFIG/SPLIT/0000.parquet
            stem = folders.pop()
        split = _SPLIT.fullmatch(stem)
        config = folders[-1] if folders and folders[-1] != "data" else "default"
        if split is not None:
            found.setdefault(config, {}).setdefault(split[1], []).append(f"{root}/{quote(name)}")
    return found


def _pick(asked: _Set, files: Files) -> dict[str, list[str]]:
    """The splits of the config that was named, or of the only one."""
    if not files:
        raise UserError(f"hf:{asked.name} has no Parquet files: fetch it by hand and give its folder")
    if asked.config is not None and asked.config not in files:
        raise UserError(f"hf:{asked.name} has no config {asked.config!r}; it has: {', '.join(files)}")
    config = asked.config or (next(iter(files)) if len(files) == 1 else "default")
    if config not in files:
        raise UserError(f"hf:{asked.name} has several configs, {', '.join(files)}: name one, hf:{asked.name}:CONFIG")
    return files[config]


def _licence(facts: dict[str, Any]) -> str:
    said = (facts.get("cardData") or {}).get("license") or ""
    return ", ".join(said) if isinstance(said, list) else str(said)
