"""Which shape a silhouette has, and how large it is: the nearest of many drawn templates."""

from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from calligram.data.shapes.draw import draw
from calligram.data.shapes.scene import PALETTE, SHAPES, Scene, SceneObject, Shape

MAX_ANGLE = 6.0  # degrees by which a shape may be turned and still be known
GRID_SIZE = 24  # samples across a normalised silhouette
GRID_REACH = 2.1  # from its centre to the edge of the grid, in units of its RMS radius
TEMPLATE_ANGLES = tuple(np.linspace(-1.3, 1.3, 7) * MAX_ANGLE)  # degrees, a little beyond what is composed
TEMPLATE_BLURS = (0.0, 0.08, 0.16, 0.24, 0.32)  # in units of the shape's radius: from sharp to badly blurred
# Coverage below and above counts as none and all: faint noise around a shape weighs much in its moments.
NO_COVERAGE, FULL_COVERAGE = 0.2, 0.8
MIN_LIKENESS = 0.8  # overlap with the best template below which a silhouette is no shape at all

_RADIUS_PIXELS = 40  # of the shapes that templates are made from
_CANVAS_PIXELS = 128


class Recognised(NamedTuple):
    """What a silhouette shows; ``shape`` is None where it is like no template."""

    shape: Shape | None
    likeness: float  # of the best template: shared area / area of both together
    x: float  # pixels
    y: float
    radius: float  # pixels, of the circle around the shape


class _Templates(NamedTuple):
    shapes: tuple[Shape, ...]
    silhouettes_TG: np.ndarray  # T templates, G points of the grid
    radii_T: np.ndarray  # radius of the shape / RMS radius of its silhouette


def recognise(coverage_HW: np.ndarray) -> Recognised:
    """The shape of a silhouette, given how much of each pixel it covers (0 to 1).

    Position and scale are taken out by the silhouette's own moments, so that each template is compared once.
    """
    templates = _templates()
    coverage_HW = _sharpened(coverage_HW)
    if not coverage_HW.any():
        return Recognised(None, 0.0, coverage_HW.shape[1] / 2, coverage_HW.shape[0] / 2, 0.5)
    x, y, rms_radius = _moments(coverage_HW)
    rms_radius = max(rms_radius, 0.5)  # a single pixel has no extent of its own
    silhouette_G = _normalised(coverage_HW, x, y, rms_radius)
    # |a - b| = a + b - 2 min(a, b) = 2 max(a, b) - a - b: sums alone give the shared area and the area of both.
    distance_T = np.abs(templates.silhouettes_TG - silhouette_G).sum(1)
    total_T = templates.silhouettes_TG.sum(1) + silhouette_G.sum()
    likeness_T = (total_T - distance_T) / (total_T + distance_T)
    best = int(likeness_T.argmax())
    likeness = float(likeness_T[best])
    shape = templates.shapes[best] if likeness >= MIN_LIKENESS else None
    return Recognised(shape, likeness, x, y, float(rms_radius * templates.radii_T[best]))


def _sharpened(coverage_HW: np.ndarray) -> np.ndarray:
    return np.clip((coverage_HW - NO_COVERAGE) / (FULL_COVERAGE - NO_COVERAGE), 0, 1)


def _moments(coverage_HW: np.ndarray) -> tuple[float, float, float]:
    """Centre of gravity (x, y) and RMS distance from it, in pixels."""
    height, width = coverage_HW.shape
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    total = coverage_HW.sum()
    by_column, by_row = coverage_HW.sum(0) / total, coverage_HW.sum(1) / total
    x, y = float(columns @ by_column), float(rows @ by_row)
    return x, y, float(np.sqrt((columns - x) ** 2 @ by_column + (rows - y) ** 2 @ by_row))


def _normalised(coverage_HW: np.ndarray, x: float, y: float, rms_radius: float) -> np.ndarray:
    """The silhouette (G,) on a grid that is centred on it and scaled to it. Bilinear: a row matrix, a column matrix."""
    height, width = coverage_HW.shape
    steps = ((np.arange(GRID_SIZE) + 0.5) / GRID_SIZE * 2 - 1) * GRID_REACH * rms_radius
    rows, columns = (y + steps - 0.5)[:, None], (x + steps - 0.5)[:, None]
    from_rows = np.maximum(1 - np.abs(rows - np.arange(height)), 0)
    from_columns = np.maximum(1 - np.abs(columns - np.arange(width)), 0)
    return (from_rows @ coverage_HW @ from_columns.T).ravel().astype(np.float32)


@cache
def _templates() -> _Templates:
    """All shapes at all angles and blurs, normalised as the silhouettes that they are compared with."""
    shapes, silhouettes, radii = [], [], []
    for shape in SHAPES:
        for angle in (0.0,) if shape in ("circle", "ring") else TEMPLATE_ANGLES:
            drawing = _drawing(shape, angle)
            for blur in TEMPLATE_BLURS:
                blurred = drawing.filter(ImageFilter.GaussianBlur(blur * _RADIUS_PIXELS))
                coverage_HW = _sharpened(np.asarray(blurred, np.float32) / 255)
                x, y, rms_radius = _moments(coverage_HW)
                shapes.append(shape)
                silhouettes.append(_normalised(coverage_HW, x, y, rms_radius))
                radii.append(_RADIUS_PIXELS / rms_radius)
    return _Templates(tuple(shapes), np.stack(silhouettes), np.array(radii))


def _drawing(shape: Shape, angle: float) -> Image.Image:
    """One shape, white on black, made by the very pen that draws the scenes."""
    radius = _RADIUS_PIXELS / _CANVAS_PIXELS
    each = SceneObject(shape=shape, colour="black", size="large", x=0.5, y=0.5, radius=radius, angle=angle)
    scene = Scene(background=(255, 255, 255), objects=(each,))
    picture = np.asarray(draw(scene, _CANVAS_PIXELS).convert("L"), np.float32)
    ink = np.asarray(Image.new("RGB", (1, 1), PALETTE["black"]).convert("L"), np.float32)[0, 0]
    return Image.fromarray(((255 - picture) / (255 - ink) * 255).round().astype(np.uint8))
