"""What a row of the results is about: one run, or several joined with ``+`` into one system."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from calligram import runs
from calligram.clip.weights.source import is_foreign
from calligram.data.place import is_url
from calligram.errors import UserError
from calligram.eval.task import EvalTask, Kind

JOIN = "+"
KINDS: tuple[Kind, ...] = ("clip", "tokenizer", "dalle")  # of runs
IN_WORDS = {"clip": "a CLIP", "tokenizer": "an image tokenizer", "dalle": "a DALL-E", "space": "a space (--space)"}

Places = dict[Kind, str]  # where the model of a kind lies


@dataclass(frozen=True)
class System:
    """A name, the models that its figures are about, and those that only help to measure them."""

    name: str
    own: Places
    helpers: Places

    @property
    def places(self) -> Places:
        return {**self.helpers, **self.own}

    def taken_by(self, task: EvalTask) -> Places:
        """Of its models those that the task is handed."""
        return {kind: place for kind, place in self.places.items() if kind in task.takes()}

    def why_not(self, task: EvalTask) -> str | None:
        """Why the task has nothing to say about this system; None where it has."""
        missing = [kind for kind in task.needs if kind not in self.places]
        if not missing and any(kind in self.own for kind in task.needs):
            return None
        return f"it needs {' and '.join(IN_WORDS[kind] for kind in missing or task.needs)}"


def kind_of(place: str | Path) -> Kind:
    """Raises UserError where nothing lies that can be evaluated, before anything is loaded."""
    if is_foreign(place):
        return "clip"
    kind = runs.read_config(Path(place))["type"]
    if kind not in KINDS:
        raise UserError(f"{place} is a {kind!r} run, which nothing here can evaluate")
    runs.weights(Path(place))
    return cast(Kind, kind)


def read_systems(
    words: Sequence[str], rerank: str | None = None, space: str | None = None
) -> tuple[list[System], list[str]]:
    """A system of each word, and what is to be told about how they were understood.

    ``rerank`` is the CLIP that picks among and scores what every DALL-E draws; without it the only CLIP there is does.
    A word that joins a DALL-E with a CLIP keeps that one. ``space`` is where sets of pictures are compared; without it
    the CLIP that reranks.
    """
    rows = [_parts(word) for word in words]
    helper, notes = _helper(rows, rerank)
    has_tokenizer = any("tokenizer" in own for own in rows)
    systems = []
    for name, own in zip(unique(map(_name, words)), rows, strict=True):
        helpers: Places = {}
        if "dalle" in own and helper is not None and "clip" not in own:
            helpers["clip"] = helper
        found = space or own.get("clip") or helper
        if found is not None and (space or {"dalle", "tokenizer"} & own.keys()):
            helpers["space"] = found
        if "dalle" in own and "tokenizer" not in own:  # evaluated with its DALL-E unless another is named
            (helpers if has_tokenizer else own)["tokenizer"] = str(Path(own["dalle"]) / runs.IMAGE_TOKENIZER)
        systems.append(System(name, own, helpers))
    return systems, notes


def _parts(word: str) -> Places:
    own: Places = {}
    for place in _split(word):
        kind = kind_of(place)
        if kind in own:
            raise UserError(
                f"--model {word}: {place} is a second {kind} run: join one of each type at most, or name each by a "
                "--model of its own"
            )
        own[kind] = place
    return own


def _split(word: str) -> list[str]:
    """At every ``+``, but for a name that has one itself."""
    if Path(word).exists():
        return [word]
    places = [each.strip() for each in word.split(JOIN)]
    if not all(places):
        raise UserError(f"--model {word!r}: give the folder of a run, or several joined with {JOIN}")
    return places


def _helper(rows: Sequence[Places], rerank: str | None) -> tuple[str | None, list[str]]:
    if rerank is not None:
        if kind_of(rerank) != "clip":
            raise UserError(f"--rerank {rerank} is a {kind_of(rerank)} run, but a clip run is needed here")
        return rerank, []
    clips = list(dict.fromkeys(own["clip"] for own in rows if "clip" in own))
    waiting = [own["dalle"] for own in rows if "dalle" in own and "clip" not in own]
    if not waiting or not clips:
        return (clips[0] if len(clips) == 1 else None), []
    if len(clips) > 1:
        return None, [f"{len(clips)} CLIPs: none of them picks among the drawings; name one by --rerank"]
    return clips[0], [f"{clips[0]} picks among the drawings of {', '.join(waiting)}, and scores them"]


def unique(names: Iterable[str]) -> list[str]:
    """A name that comes again gets a number: shapes, shapes-2."""
    found: list[str] = []
    for name in names:
        choice, number = name, 1
        while choice in found:
            number += 1
            choice = f"{name}-{number}"
        found.append(choice)
    return found


def _name(word: str) -> str:
    return JOIN.join(short_name(place) for place in _split(word))


def short_name(place: str | Path) -> str:
    """The folder's or the file's name, the end of a URL, or the word for what lies elsewhere."""
    if Path(place).exists():
        return Path(place).resolve().name
    return (urlsplit(str(place)).path.rstrip("/").rpartition("/")[2] if is_url(place) else "") or str(place)


def is_flat(systems: Sequence[System]) -> bool:
    """Whether no two are measured by the same tasks, so that a metric's name says which it is about."""
    counts = Counter(kind for system in systems for kind in system.own)
    return max(counts.values()) == 1
