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
    Background,
    Colour,
    Kind,
    Scene,
    SceneObject,
    Shape,
    Size,
)

MARGIN = 0.02  # between an object and the frame
GAP = 0.05  # between two objects: more than 3 pixels of 64
MAX_SLANT = 0.4  # of a pair: offset across its axis / distance along it
MAX_ANGLE = 10.0  # degrees; more would turn a cross or a square into a diamond
CROWDED_RADIUS = 0.18  # of three and more objects: larger ones leave no freedom in where they are
# Where centres may lie in each third of the picture: bands of 0.1 between them keep the places apart.
BANDS = ((0.0, 0.35), (0.45, 0.55), (0.65, 1.0))

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
    size = _size(rng)
    radius = rng.uniform(*RADII[size])
    row, column = divmod(int(rng.integers(len(PLACES))), 3)
    return (_object(rng, _pick(rng, classes), size, _within(rng, column, radius), _within(rng, row, radius), radius),)


def _two_objects(
    rng: np.random.Generator, classes: Sequence[tuple[Colour, Shape]], others: Sequence[tuple[Colour, Shape]]
) -> tuple[SceneObject, ...]:
    """Two objects of different classes, side by side or one above the other; which comes first is left to chance."""
    first = _pick(rng, classes)
    pair = [first, _pick(rng, [other for other in others if other != first])]
    sizes: tuple[Size, Size] = (_size(rng), _size(rng))
    radii = [rng.uniform(*RADII[size]) for size in sizes]
    along, across = _pair_layout(rng, radii)
    xs, ys = (along, across) if rng.random() < 0.5 else (across, along)
    objects = [_object(rng, *each) for each in zip(pair, sizes, xs, ys, radii, strict=True)]
    return tuple(objects if rng.random() < 0.5 else objects[::-1])


def _pair_layout(rng: np.random.Generator, radii: list[float]) -> tuple[list[float], list[float]]:
    """Coordinates of a pair along its axis, clearly apart, and across it, at most a slant of ``MAX_SLANT``."""
    low = [MARGIN + radius for radius in radii]
    high = [1 - each for each in low]
    distance = rng.uniform(sum(radii) + GAP, high[1] - low[0])
    near = rng.uniform(low[0], high[1] - distance)
    along = [near, near + distance]
    if rng.random() < 0.5:  # the first object may be the farther one
        along = [1 - each for each in along]
    middle = rng.uniform(low[0], high[0])
    slant = MAX_SLANT * distance
    across = [middle, rng.uniform(max(low[1], middle - slant), min(high[1], middle + slant))]
    return along, across


def _several_of_a_kind(rng: np.random.Generator, classes: Sequence[tuple[Colour, Shape]]) -> tuple[SceneObject, ...]:
    pair, size, number = _pick(rng, classes), _size(rng), int(rng.integers(2, 5))
    low, high = RADII[size]
    radii = rng.uniform(low, min(high, CROWDED_RADIUS) if number > 2 else high, number)
    centres = _spread(rng, number, float(radii.max()))
    return tuple(_object(rng, pair, size, x, y, radius) for (x, y), radius in zip(centres, radii, strict=True))


def _spread(rng: np.random.Generator, number: int, radius: float) -> np.ndarray:
    """Centres (number, 2) of discs that keep clear of each other and of the frame: the first of many tries that do."""
    low = MARGIN + radius
    first, second = np.triu_indices(number, k=1)
    while True:
        tries = rng.uniform(low, 1 - low, (64 if number < 4 else 512, number, 2))
        squared = ((tries[:, first] - tries[:, second]) ** 2).sum(-1).min(-1)
        clear = np.flatnonzero(squared >= (2 * radius + GAP) ** 2)
        if len(clear):
            return tries[clear[0]]


def _within(rng: np.random.Generator, band: int, radius: float) -> float:
    low, high = BANDS[band]
    return rng.uniform(max(low, MARGIN + radius), min(high, 1 - MARGIN - radius))


def _object(
    rng: np.random.Generator, pair: tuple[Colour, Shape], size: Size, x: float, y: float, radius: float
) -> SceneObject:
    colour, shape = pair
    x, y, radius = round(float(x), 4), round(float(y), 4), round(float(radius), 4)
    angle = round(rng.uniform(-MAX_ANGLE, MAX_ANGLE), 1)
    return SceneObject(shape=shape, colour=colour, size=size, x=x, y=y, radius=radius, angle=angle)


def _background(rng: np.random.Generator) -> Background:
    """A light grey with a tint, and a gradient to another such: far from every colour of the palette."""
    start = rng.uniform(195, 240) + rng.uniform(-8, 8, 3)
    end = start + rng.uniform(-14, 14)
    return Background(start=_rgb(start), end=_rgb(end), angle=float(rng.integers(360)))


def _rgb(values_C: np.ndarray) -> RGB:
    red, green, blue = (int(value) for value in np.clip(values_C, 0, 250).round())
    return red, green, blue


def _size(rng: np.random.Generator) -> Size:
    return SIZES[int(rng.integers(len(SIZES)))]


def _pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    return items[int(rng.integers(len(items)))]
