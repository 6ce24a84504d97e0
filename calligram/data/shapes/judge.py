"""Is it true? Checks the claims of a caption against a scene: one that was composed, or one that the oracle found."""

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Protocol

from calligram.data.shapes.claims import Claims, ObjectClaims
from calligram.data.shapes.scene import place_of, relation_of


class ObjectLike(Protocol):
    """What the judge looks at in an object: ``SceneObject`` and ``FoundObject`` have it."""

    @property
    def shape(self) -> str | None: ...
    @property
    def colour(self) -> str: ...
    @property
    def size(self) -> str: ...
    @property
    def x(self) -> float: ...
    @property
    def y(self) -> float: ...


class SceneLike(Protocol):
    """Anything with objects."""

    @property
    def objects(self) -> Sequence[ObjectLike]: ...


def all_right(scene: SceneLike, claims: Claims) -> bool:
    """Whether everything that the caption says is true of the scene, and nothing else is in it."""
    return all(satisfies(scene, claims).values())


def satisfies(scene: SceneLike, claims: Claims) -> dict[str, bool]:
    """Each kind of thing that the claims say, and whether it is true.

    ``objects`` (as many as the claims speak of) and ``shape`` are always said; ``color``, ``size``, ``count``,
    ``place`` and ``relation`` only where the claims do. Where it is open which object is meant, the reading with
    the most truths counts.
    """
    if claims.count is not None:
        return _satisfies_count(scene.objects, claims.objects[0], claims.count)
    number = len(claims.objects)
    readings = [_satisfies_reading(meant, claims) for meant in permutations(scene.objects, number)]
    best = max(readings, key=lambda reading: sum(reading.values()), default=_nothing_true(claims))
    return {"objects": len(scene.objects) == number, **best}


def _satisfies_count(objects: Sequence[ObjectLike], said: ObjectClaims, count: int) -> dict[str, bool]:
    """``count`` is of those objects alone that are as described; the others are told by ``objects`` and the rest."""
    checks = _checks([said])
    truths = {key: bool(objects) and all(check(each, said) for each in objects) for key, check in checks.items()}
    described = sum(all(check(each, said) for check in checks.values()) for each in objects)
    return {"objects": len(objects) == count, "count": described == count, **truths}


def _satisfies_reading(meant: Sequence[ObjectLike], claims: Claims) -> dict[str, bool]:
    """The truth of the claims if they are about these objects, in this order."""
    truths = {
        key: all(check(each, said) for each, said in zip(meant, claims.objects, strict=True))
        for key, check in _checks(claims.objects).items()
    }
    if claims.place:
        truths["place"] = place_of(meant[0].x, meant[0].y) == claims.place
    if claims.relation:
        truths["relation"] = relation_of(meant[0].x, meant[0].y, meant[1].x, meant[1].y) == claims.relation
    return truths


def _checks(said: Sequence[ObjectClaims]) -> dict[str, Callable[[ObjectLike, ObjectClaims], bool]]:
    """How to check what is said of single objects. An attribute that is not said of an object is true of it."""
    checks: dict[str, Callable[[ObjectLike, ObjectClaims], bool]] = {
        "shape": lambda each, claim: each.shape == claim.shape
    }
    if any(claim.colour for claim in said):
        checks["color"] = lambda each, claim: claim.colour in (None, each.colour)
    if any(claim.size for claim in said):
        checks["size"] = lambda each, claim: claim.size in (None, each.size)
    return checks


def _nothing_true(claims: Claims) -> dict[str, bool]:
    """For a picture with fewer objects than the claims speak of."""
    said = [*_checks(claims.objects), *(["place"] if claims.place else []), *(["relation"] if claims.relation else [])]
    return dict.fromkeys(said, False)
