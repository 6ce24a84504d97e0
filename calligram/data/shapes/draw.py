"""From a scene to its picture, with smooth edges."""

import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from calligram.data.shapes.scene import PALETTE, Scene, SceneObject, Shape

SUPERSAMPLING = 4
NUM_CURVE_POINTS = 72
STAR_INNER_RADIUS = 0.42
RING_INNER_RADIUS = 0.55
CROSS_HALF_WIDTH = 0.30


def draw(scene: Scene, image_size: int = 64) -> Image.Image:
    """The picture of a scene, RGB, ``image_size`` pixels wide and high."""
    picture = Image.new("RGB", (image_size, image_size), scene.background)
    for each in scene.objects:
        _draw_object(picture, each)
    return picture


@cache
def outline(shape: Shape) -> np.ndarray:
    """Corners (num_points, 2) of a shape that touches the unit circle, y downwards. A ring's is its outer edge."""
    if shape in ("circle", "ring"):
        return _polar([1.0] * NUM_CURVE_POINTS)
    if shape == "square":
        return _polar([1.0] * 4, start=45)
    if shape == "triangle":
        return _polar([1.0] * 3)
    if shape == "star":
        return _polar([1.0, STAR_INNER_RADIUS] * 5)
    arm, end = CROSS_HALF_WIDTH, math.sqrt(1 - CROSS_HALF_WIDTH**2)
    corner = np.array([(-arm, -end), (arm, -end), (arm, -arm)])
    quarter_turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([corner @ np.linalg.matrix_power(quarter_turn, turn) for turn in range(4)])


def _polar(radii: list[float], start: float = 0.0) -> np.ndarray:
    """Points at equal steps around the origin, the first one straight up, turned by ``start`` degrees."""
    angles = np.radians(start - 90) + np.arange(len(radii)) * 2 * np.pi / len(radii)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array(radii)[:, None]


def _draw_object(picture: Image.Image, each: SceneObject) -> None:
    """Paste the object's colour through a mask that is drawn large and reduced: its edges come out smooth."""
    image_size = picture.width
    left, top, right, bottom = (
        math.floor((each.x - each.radius) * image_size),
        math.floor((each.y - each.radius) * image_size),
        math.ceil((each.x + each.radius) * image_size) + 1,
        math.ceil((each.y + each.radius) * image_size) + 1,
    )
    scale = SUPERSAMPLING * image_size
    centre = np.array([each.x * scale - left * SUPERSAMPLING, each.y * scale - top * SUPERSAMPLING]) - 0.5
    cos, sin = math.cos(math.radians(each.angle)), math.sin(math.radians(each.angle))
    corners = outline(each.shape) @ np.array([[cos, sin], [-sin, cos]]) * (each.radius * scale)
    mask = Image.new("L", ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING))
    pen = ImageDraw.Draw(mask)
    pen.polygon((corners + centre).ravel().tolist(), fill=255)
    if each.shape == "ring":
        pen.polygon((corners * RING_INNER_RADIUS + centre).ravel().tolist(), fill=0)
    picture.paste(PALETTE[each.colour], (left, top), mask.reduce(SUPERSAMPLING))
