"""Two pictures and two captions that differ in little and go together one way only (arXiv 2204.03162).

Of drawings of shapes: the same words in another order. Of pictures with a class: names of which one word differs.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from calligram.data.shapes.caption import phrasings
from calligram.data.shapes.claims import Claims, ObjectClaims
from calligram.data.shapes.judge import all_right
from calligram.data.shapes.scene import Scene, relation_of

Told = tuple[tuple[str, ...], dict]


class Twins(NamedTuple):
    """The captions of two samples, by their numbers; each is false of the other picture."""

    kind: str
    rows: tuple[int, int]
    captions: tuple[str, str]


def twins(words: Sequence[Told], class_names: Sequence[str]) -> list[Twins]:
    """As many as there are among these samples, in each kind a picture once."""
    scenes = {row: Scene.model_validate(meta["scene"]) for row, (_, meta) in enumerate(words) if "scene" in meta}
    pairs = {row: scene for row, scene in scenes.items() if len(scene.objects) == 2}
    if scenes:
        said = {
            "colours": {row: _colours(scene) for row, scene in pairs.items()},
            "relation": {row: _relation(scene) for row, scene in pairs.items()},
        }
        return [each for kind, claims in said.items() for each in _of_scenes(kind, pairs, claims)]
    return list(_of_names(words, class_names))


def _colours(scene: Scene) -> tuple[Claims, Claims] | None:
    """Which colour which shape has, and the same the other way round."""
    first, second = sorted(scene.objects, key=lambda each: each.shape)
    if first.shape == second.shape or first.colour == second.colour:
        return None

    def claims(*colours: str) -> Claims:
        objects = [{"shape": each.shape, "colour": c} for each, c in zip((first, second), colours, strict=True)]
        return Claims.model_validate({"objects": objects})

    return claims(first.colour, second.colour), claims(second.colour, first.colour)


def _relation(scene: Scene) -> tuple[Claims, Claims] | None:
    """How one shape lies to another, and the same the other way round."""
    first, second = scene.objects
    if first.shape == second.shape:
        return None
    relation = relation_of(first.x, first.y, second.x, second.y)
    if relation in ("right of", "below"):  # of two ways to say it one, so that pictures find each other
        first, second = second, first
        relation = "left of" if relation == "right of" else "above"
    objects = ObjectClaims(shape=first.shape), ObjectClaims(shape=second.shape)
    return Claims(objects=objects, relation=relation), Claims(objects=objects[::-1], relation=relation)


def _of_scenes(kind: str, scenes: dict[int, Scene], said: dict[int, tuple[Claims, Claims] | None]) -> Iterator[Twins]:
    waiting: dict[Claims, list[int]] = defaultdict(list)
    for row, claims in said.items():
        if claims is None:
            continue
        own, other = claims
        partners = waiting[other]
        # a caption may be true of both where it leaves open what it means
        partner = next((each for each in partners if _apart(scenes, said, row, each)), None)
        if partner is None:
            waiting[own].append(row)
            continue
        partners.remove(partner)
        yield Twins(kind, (partner, row), (phrasings(other)[0], phrasings(own)[0]))


def _apart(scenes: dict[int, Scene], said: dict[int, tuple[Claims, Claims] | None], row: int, other: int) -> bool:
    first, second = said[row], said[other]
    assert first is not None and second is not None
    return not all_right(scenes[other], first[0]) and not all_right(scenes[row], second[0])


def _of_names(words: Sequence[Told], class_names: Sequence[str]) -> Iterator[Twins]:
    """Pictures of classes whose names, of two words or more, have all but one in common at the same places."""
    row_of: dict[int, int] = {}
    for row, (_, meta) in enumerate(words):
        if "class" in meta:
            row_of.setdefault(int(meta["class"]), row)
    waiting: dict[tuple, int] = {}
    for number, row in row_of.items():
        split = class_names[number].split()
        if len(split) < 2:
            continue
        gaps = [(place, *split[:place], None, *split[place + 1 :]) for place in range(len(split))]
        partner = next((waiting[gap] for gap in gaps if gap in waiting), None)
        if partner is None or class_names[partner] == class_names[number]:
            waiting |= dict.fromkeys(gaps, number)
            continue
        waiting = {gap: each for gap, each in waiting.items() if each != partner}
        yield Twins("names", (row_of[partner], row), (class_names[partner], class_names[number]))
