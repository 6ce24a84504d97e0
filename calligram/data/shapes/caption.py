"""Captions of a scene: which of its facts to mention, and the words for them."""

import numpy as np

from calligram.data.shapes.claims import Claims, ObjectClaims
from calligram.data.shapes.scene import Kind, Place, Relation, Scene, SceneObject, place_of, relation_of

COUNT_WORDS = {2: "two", 3: "three", 4: "four"}
PLACE_PHRASES: dict[Place, tuple[str, ...]] = {
    "top left": ("at the top left", "in the top left corner"),
    "top": ("at the top",),
    "top right": ("at the top right", "in the top right corner"),
    "left": ("on the left",),
    "middle": ("in the middle",),
    "right": ("on the right",),
    "bottom left": ("at the bottom left", "in the bottom left corner"),
    "bottom": ("at the bottom",),
    "bottom right": ("at the bottom right", "in the bottom right corner"),
}
RELATION_PHRASES: dict[Relation, tuple[str, ...]] = {
    "left of": ("{a} left of {b}", "{a} to the left of {b}", "{b} with {a} on its left"),
    "right of": ("{a} right of {b}", "{a} to the right of {b}", "{b} with {a} on its right"),
    "above": ("{a} above {b}", "{b} with {a} above it", "there is {a} above {b}"),
    "below": ("{a} below {b}", "{a} under {b}", "{b} with {a} below it"),
}


def phrasings(claims: Claims) -> list[str]:
    """All the ways of saying the claims, the plainest first."""
    if claims.count is not None:
        return _count_phrasings(claims.objects[0], claims.count)
    if len(claims.objects) == 1:
        return _single_phrasings(_with_article(claims.objects[0]), claims.place)
    first, second = (_with_article(each) for each in claims.objects)
    if claims.relation:
        return [phrase.format(a=first, b=second) for phrase in RELATION_PHRASES[claims.relation]]
    both = f"{first} and {second}"
    return [both, f"there is {both}", f"a picture of {both}"]


def random_caption(rng: np.random.Generator, claims: Claims) -> str:
    """One of the phrasings; the plainest half of the time."""
    choices = phrasings(claims)
    return choices[0] if rng.random() < 0.5 else choices[int(rng.integers(len(choices)))]


def random_captions(rng: np.random.Generator, scene: Scene, kind: Kind, number: int = 4) -> list[tuple[str, Claims]]:
    """Different true captions of a scene with their claims; the first one is rich, the others say more or less."""
    captions: dict[str, Claims] = {}
    while len(captions) < number:
        claims = random_claims(rng, scene, kind, detailed=not captions)
        captions.setdefault(random_caption(rng, claims), claims)
    return list(captions.items())


def random_claims(rng: np.random.Generator, scene: Scene, kind: Kind, detailed: bool = False) -> Claims:
    """Some of what is true of a scene: the shapes always, the colours mostly (always if detailed), the rest often."""
    objects = list(scene.objects)
    if kind == "two-object" and rng.random() < 0.5:
        objects.reverse()
    says_colour = detailed or rng.random() < 0.7 or (kind == "two-object" and objects[0].shape == objects[1].shape)
    says_size = rng.random() < (0.45 if detailed else 0.3)
    says_where = rng.random() < (0.6 if detailed else 0.45)
    told = objects[:1] if kind == "counting" else objects
    said = tuple(_object_claims(each, says_colour, says_size) for each in told)
    if kind == "counting":
        return Claims(objects=said, count=len(objects))
    if not says_where:
        return Claims(objects=said)
    if kind == "one-object":
        return Claims(objects=said, place=place_of(objects[0].x, objects[0].y))
    first, second = objects
    return Claims(objects=said, relation=relation_of(first.x, first.y, second.x, second.y))


def _object_claims(each: SceneObject, says_colour: bool, says_size: bool) -> ObjectClaims:
    return ObjectClaims(
        shape=each.shape, colour=each.colour if says_colour else None, size=each.size if says_size else None
    )


def _count_phrasings(each: ObjectClaims, count: int) -> list[str]:
    several = f"{_words(each)}{'es' if each.shape == 'cross' else 's'}"
    number = COUNT_WORDS[count]
    phrases = [f"{number} {several}", f"there are {number} {several}", f"a picture of {number} {several}"]
    return [*phrases, f"a pair of {several}"] if count == 2 else [*phrases, f"a group of {number} {several}"]


def _single_phrasings(one: str, place: Place | None) -> list[str]:
    if place is None:
        return [one, f"there is {one}", f"a picture of {one}"]
    where = PLACE_PHRASES[place]
    return [f"{one} {phrase}" for phrase in where] + [f"there is {one} {where[0]}", f"{where[-1]} there is {one}"]


def _with_article(each: ObjectClaims) -> str:
    return f"a {_words(each)}"


def _words(each: ObjectClaims) -> str:
    return " ".join(word for word in (each.size, each.colour, each.shape) if word)
