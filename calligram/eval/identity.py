"""By what models and data are known: hashes of what they hold, never of where they lie or when they were made."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calligram import runs
from calligram.clip.fingerprint import model_fingerprint
from calligram.clip.weights.source import is_foreign
from calligram.data.manifest import Manifest
from calligram.data.place import place
from calligram.errors import UserError
from calligram.eval.loading import Loader
from calligram.eval.systems import short_name, unique
from calligram.eval.task import EvalConfig, EvalTask, Kind

DIGITS = 32  # of a hash
DESCRIBES = ("type", "model", "sampling")  # what of a run's config says how it answers, not how it was trained


@dataclass(frozen=True)
class Part:
    """A model as it stands in the results."""

    place: str
    digest: str
    parameters: int | None  # None where that can not be told without loading it


@dataclass(frozen=True)
class DataSet:
    """A data set under the name that it has in the results."""

    name: str
    place: Path | str
    manifest: Manifest
    digest: str

    def facts(self) -> dict[str, Any]:
        splits = {split: self.manifest.num_samples(split) for split in self.manifest.splits}
        return {
            "name": self.name,
            "place": str(self.place),
            "digest": self.digest,
            "splits": splits,
            "licence": self.manifest.licence,
        }


def identify(kind: Kind, where: str, loader: Loader) -> Part:
    """Of a run from its files, of a model of others from the loaded one."""
    if kind == "space" and not _is_clip(where):
        file = _file_digest(where.rpartition(":")[2])  # such as inception:FILE
        return Part(where, _hash(["space", file or where]), None)
    if is_foreign(where):
        clip = loader.clip(where)
        count = sum(x.numel() for x in clip.model.parameters())
        return Part(where, model_fingerprint(clip.model, clip.tokenizer), count)
    return Part(where, _run_digest(Path(where)), runs.count_parameters(runs.weights(Path(where))))


def read_data(words: dict[str, Path | str], config: EvalConfig) -> list[DataSet]:
    """The data sets of places, by the words that a person gave for them. Raises UserError for one without the split."""
    found = []
    for name, (word, where) in zip(unique(map(short_name, words)), words.items(), strict=True):
        manifest = Manifest.load(place(where))
        if config.split not in manifest.splits:
            known = ", ".join(manifest.splits)
            raise UserError(f"--data {word} has no split {config.split!r}, only {known}: name one of them by --split")
        found.append(DataSet(name, where, manifest, data_digest(manifest)))
    return found


def data_digest(manifest: Manifest) -> str:
    """Of samples, classes and templates."""
    splits = {split: manifest.digest(split) for split in sorted(manifest.splits)}
    return _hash([manifest.name, manifest.class_names, manifest.templates, splits])


def cell_key(task: EvalTask, parts: dict[Kind, Part], data: DataSet, config: EvalConfig) -> str:
    """The same for the same figures: of all that a task is handed, and of the task itself."""
    fields = {name: getattr(config, name) for name in sorted(task.reads or EvalConfig.model_fields)}
    digests = {kind: parts[kind].digest for kind in sorted(parts)}
    return _hash([task.name, task.version, digests, data.digest, fields])


def _run_digest(run: Path) -> str:
    config = runs.read_config(run)
    facts: dict[str, Any] = {name: config.get(name) for name in DESCRIBES}
    facts["weights"] = _file_digest(runs.weights(run))
    facts["text"] = _file_digest(run / runs.TEXT_TOKENIZER)
    if (run / runs.IMAGE_TOKENIZER).is_dir():
        facts["image"] = _run_digest(run / runs.IMAGE_TOKENIZER)
    return _hash(facts)


def _is_clip(where: str) -> bool:
    """Whether a space is that of a CLIP, and not one by its name or from a file."""
    is_file = Path(where.rpartition(":")[2]).is_file()
    return not is_file and (is_foreign(where) or (Path(where) / runs.CONFIG).is_file())


def _file_digest(path: Path | str) -> str | None:
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:DIGITS]
