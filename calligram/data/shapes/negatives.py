"""False captions that are nearly true: hard negatives (arXiv 2210.01936).

A batch of random captions hardly ever sets "a red circle and a blue square" against "a blue circle and a red
square"; a CLIP that has seen no such pair reads captions as bags of words.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from calligram.data.shapes.caption import COUNT_WORDS, phrasings
from calligram.data.shapes.claims import Claims
from calligram.data.shapes.judge import all_right
from calligram.data.shapes.scene import CLASSES, COLOURS, OPPOSITE, PLACES, SEEN_CLASSES, SHAPES, SIZES, Scene

Item = TypeVar("Item")


def false_caption(
    rng: np.random.Generator, scene: Scene, caption: str, claims: Claims, holdout: bool = False
) -> tuple[str, Claims]:
    """A caption that says one thing of the scene wrongly, phrased like a true one, and what it claims.

    A relation is reversed; where there is none, colours or sizes change places, where two objects allow it.
    Else a place, a number or a size is another one, or a colour or a shape where no more is said. Without
    ``holdout``, no held-out pair of colour and shape is named.
    """
    classes = CLASSES if holdout else SEEN_CLASSES
    for changes in (_other_way_round, _exchanges, _other_layouts, _other_looks):
        for group in _shuffled(rng, changes(claims)):
            for changed in _shuffled(rng, group):
                if _names_only(classes, changed) and not all_right(scene, changed):
                    return say_alike(caption, claims, changed), changed
    raise ValueError(f"nothing can be said wrongly in {caption!r}")


def changes_by_kind(claims: Claims, holdout: bool = False) -> dict[str, list[Claims]]:
    """What one could say instead, by what is changed (arXiv 2306.14610); true or not is another question."""
    found = {
        "swap_colour": _exchange(claims, "colour"),
        "swap_size": _exchange(claims, "size"),
        "reverse_relation": _other_way_round(claims)[0],
        "replace_object": _with_any(claims, "shape", SHAPES),
        "replace_colour": _with_any(claims, "colour", COLOURS),
        "change_count": [claims.model_copy(update={"count": count}) for count in COUNT_WORDS] if claims.count else [],
    }
    classes = CLASSES if holdout else SEEN_CLASSES
    return {kind: [each for each in changed if _names_only(classes, each)] for kind, changed in found.items()}


def say_alike(caption: str, claims: Claims, changed: Claims) -> str:
    """Changed claims in the words in which the caption says its own."""
    ways = phrasings(changed)
    return ways[phrasings(claims).index(caption) % len(ways)]


def _other_way_round(claims: Claims) -> list[list[Claims]]:
    """The opposite relation. First of all, since it is what CLIP takes longest to learn."""
    return [[claims.model_copy(update={"relation": OPPOSITE[claims.relation]})] if claims.relation else []]


def _exchanges(claims: Claims) -> list[list[Claims]]:
    """The same words in other places."""
    return [_exchange(claims, "colour"), _exchange(claims, "size")]


def _exchange(claims: Claims, attribute: str) -> list[Claims]:
    if len(claims.objects) == 1:
        return []
    values = [getattr(each, attribute) for each in claims.objects]
    objects = [
        each.model_copy(update={attribute: value}) for each, value in zip(claims.objects, reversed(values), strict=True)
    ]
    return [claims.model_copy(update={"objects": tuple(objects)})]


def _other_layouts(claims: Claims) -> list[list[Claims]]:
    """Another place, number or size."""
    places = [claims.model_copy(update={"place": place}) for place in PLACES] if claims.place else []
    counts = [claims.model_copy(update={"count": count}) for count in COUNT_WORDS] if claims.count else []
    return [places, counts, _with_any(claims, "size", SIZES)]


def _other_looks(claims: Claims) -> list[list[Claims]]:
    """Another colour or shape."""
    return [_with_any(claims, "colour", COLOURS), _with_any(claims, "shape", SHAPES)]


def _with_any(claims: Claims, attribute: str, values: Sequence[str]) -> list[Claims]:
    """One object has any value of an attribute that is said of it."""
    found = []
    for number, each in enumerate(claims.objects):
        for value in values if getattr(each, attribute) else ():
            objects = list(claims.objects)
            objects[number] = each.model_copy(update={attribute: value})
            found.append(claims.model_copy(update={"objects": tuple(objects)}))
    return found


def _names_only(classes: Sequence[tuple[str, str]], claims: Claims) -> bool:
    return all(each.colour is None or (each.colour, each.shape) in classes for each in claims.objects)


def _shuffled(rng: np.random.Generator, items: Sequence[Item]) -> Iterator[Item]:
    return (items[number] for number in rng.permutation(len(items)))
