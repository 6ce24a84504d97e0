"""Captions with one thing changed so that they are false, made from what is known of a picture (arXiv 2306.14610).

Of a drawing of shapes its scene is known, and so is whether the changed caption is false of it. Of a picture with a
class its name is known, and that of other classes.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from calligram.data.shapes.claims import Claims
from calligram.data.shapes.judge import all_right
from calligram.data.shapes.negatives import changes_by_kind, say_alike
from calligram.data.shapes.scene import Scene

COLOUR_WORDS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white")


class Swap(NamedTuple):
    """A question about a picture: which of two captions is true of it?"""

    kind: str
    right: str
    wrong: str


def swaps(
    captions: Sequence[str], meta: dict, relatives: "Relatives", rng: np.random.Generator, holdout: bool = False
) -> Iterator[Swap]:
    """One of each kind that the picture allows."""
    if "scene" in meta and "claims" in meta:
        yield from _of_scene(captions, meta, rng, holdout)
    elif "class" in meta:
        yield from _of_name(captions, int(meta["class"]), relatives, rng)


def _of_scene(captions: Sequence[str], meta: dict, rng: np.random.Generator, holdout: bool) -> Iterator[Swap]:
    scene = Scene.model_validate(meta["scene"])
    found: dict[str, list[Swap]] = defaultdict(list)
    for caption, said in zip(captions, meta["claims"], strict=True):
        claims = Claims.model_validate(said)
        for kind, changes in changes_by_kind(claims, holdout).items():
            wrong = [say_alike(caption, claims, each) for each in changes if not all_right(scene, each)]
            found[kind] += [Swap(kind, caption, each) for each in wrong]
    for choices in found.values():
        if choices:
            yield choices[int(rng.integers(len(choices)))]


class Relatives:
    """The names of a data set's classes, and which could be taken for one another: those of one subgroup, if told."""

    def __init__(self, names: Sequence[str], metas: Sequence[dict]):
        self.names = names
        self.group_of = {int(meta["class"]): meta.get("subgroup", "") for meta in metas if "class" in meta}
        self.members: dict[str, list[int]] = defaultdict(list)
        for number in sorted(self.group_of):
            self.members[self.group_of[number]].append(number)

    def of(self, number: int) -> list[str]:
        """Other names of the same subgroup."""
        others = (self.names[each] for each in self.members[self.group_of[number]] if each != number)
        return [name for name in others if name != self.names[number]]


def _of_name(captions: Sequence[str], number: int, relatives: Relatives, rng: np.random.Generator) -> Iterator[Swap]:
    name = relatives.names[number]
    caption = next((each for each in captions if _whole(name).search(each)), None)
    if caption is None:
        return
    if others := relatives.of(number):
        other = others[int(rng.integers(len(others)))]
        yield Swap("replace_name", caption, _whole(name).sub(lambda found: other, caption))
    colours = [word for word in COLOUR_WORDS if _whole(word).search(name)]
    if colours:
        old = colours[int(rng.integers(len(colours)))]
        # not one that the name has, too: there it could be true, or no change
        new = [word for word in COLOUR_WORDS if word not in colours]
        changed = _whole(old).sub(new[int(rng.integers(len(new)))], name)
        yield Swap("replace_colour", caption, _whole(name).sub(lambda found: changed, caption))


def _whole(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)")
