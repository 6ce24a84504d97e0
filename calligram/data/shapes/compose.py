"""Random scenes: which objects, and where, so that nothing that a caption may say about them is in doubt."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from calligram.data.shapes.scene import (
    CLASSES,
    HOLDOUT_CLASSES,
    PLACES,
    RADII,
    RGB,
    SEEN_CLASSES,
    SIZES,
    Colour,
    Kind,
    Scene,
    SceneObject,
    Shape,
    Size,
)

# Objects stand near the points of a 3 × 3 grid: what a drawing varies besides what its caption can say is soft,
# a bit of position, size and background, so that a small model learns to compose in minutes, not in hours.
ANCHORS = (0.25, 0.5, 0.75)
JITTER = 0.016  # around an anchor, each way: a pixel of 64
# Cells of the grid, read row by row, that objects of a kind may share and keep clear of each other.
CORNERS, SIDES, MIDDLE = (0, 2, 6, 8), (1, 3, 5, 7), 4
ROOM: dict[Size, tuple[tuple[int, ...], ...]] = {"small": ((*CORNERS, MIDDLE), SIDES), "large": (CORNERS,)}

Item = TypeVar("Item")


def random_scene(rng: np.random.Generator, kind: Kind, holdout: bool = False) -> Scene:
    """A scene of the given kind; with ``holdout``, one that shows a held-out pair of colour and shape."""
    classes = HOLDOUT_CLASSES if holdout else SEEN_CLASSES
    if kind == "one-object":
        objects = _one_object(rng, classes)
    elif kind == "two-object":
        objects = _two_objects(rng, classes, others=CLASSES if holdout else SEEN_CLASSES)
    else:
        objects = _several_of_a_kind(rng, classes)
    return Scene(background=_background(rng), objects=objects)


def _one_object(rng: np.random.Generator, classes: Sequence[tuple[Colour, Shape]]) -> tuple[SceneObject, ...]:
    return (_object(rng, _pick(rng, classes), _size(rng), int(rng.integers(len(PLACES)))),)


def _two_objects(
    rng: np.random.Generator, classes: Sequence[tuple[Colour, Shape]], others: Sequence[tuple[Colour, Shape]]
) -> tuple[SceneObject, ...]:
    """Two objects of different classes, side by side or one above the other; which comes first is left to chance."""
    first = _pick(rng, classes)
    pair = [first, _pick(rng, [other for other in others if other != first])]
    across = int(rng.integers(3))
    side_by_side = rng.random() < 0.5
    cells = [3 * across, 3 * across + 2] if side_by_side else [across, across + 6]
    if rng.random() < 0.5:
        cells.reverse()
    objects = [_object(rng, each, _size(rng), cell) for each, cell in zip(pair, cells, strict=True)]
    return tuple(objects if rng.random() < 0.5 else objects[::-1])


def _several_of_a_kind(rng: np.random.Generator, classes: Sequence[tuple[Colour, Shape]]) -> tuple[SceneObject, ...]:
    pair, size, number = _pick(rng, classes), _size(rng), int(rng.integers(2, 5))
    cells = rng.permutation(_pick(rng, ROOM[size]))[:number]
    return tuple(_object(rng, pair, size, int(cell)) for cell in cells)


def _object(rng: np.random.Generator, pair: tuple[Colour, Shape], size: Size, cell: int) -> SceneObject:
    colour, shape = pair
    row, column = divmod(cell, 3)
    x, y = (round(ANCHORS[each] + rng.uniform(-JITTER, JITTER), 4) for each in (column, row))
    return SceneObject(shape=shape, colour=colour, size=size, x=x, y=y, radius=round(rng.uniform(*RADII[size]), 4))


def _background(rng: np.random.Generator) -> RGB:
    """A light grey with a tint: far from every colour of the palette."""
    red, green, blue = (int(value) for value in (rng.uniform(226, 242) + rng.uniform(-4, 4, 3)).round())
    return red, green, blue


def _size(rng: np.random.Generator) -> Size:
    return SIZES[int(rng.integers(len(SIZES)))]


def _pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    return items[int(rng.integers(len(items)))]
