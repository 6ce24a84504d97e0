"""Reads a picture back into a scene, without a neural network: background, silhouettes, colours, shapes.

Made for clean drawings and for what an image tokenizer's decoder makes of them: blur, faint noise, specks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image
from scipy import ndimage

from calligram.data.shapes.recognise import recognise
from calligram.data.shapes.scene import COLOURS, PALETTE, Colour, Shape, Size, size_of

MIN_CONTRAST = 36.0  # RGB distance from the background below which a pixel surely belongs to it
MIN_AREA = 0.005  # of the picture: smaller silhouettes are specks (the smallest object has 0.011)
BORDER_PIXELS = 2  # the background is estimated from a frame of this width
BORDER_TOLERANCE = 40.0  # RGB distance within which a pixel of that frame counts as background
COLOURFUL_SHARE = 0.3  # of an object's pixels, those furthest from the background, tell its colour
EDGE = 1 / 32  # of the picture: how far beyond a silhouette its blurred edge is looked for
TOUCHING = np.ones((3, 3), bool)  # pixels of one silhouette may also meet at corners

_PALETTE_PC = np.array([PALETTE[colour] for colour in COLOURS], np.float32)  # P colours, C channels


@dataclass(frozen=True)
class FoundObject:
    """An object as read off a picture, in units of the image; ``shape`` is None where it is none that we draw."""

    shape: Shape | None
    colour: Colour
    size: Size
    x: float
    y: float
    radius: float
    likeness: float  # to the nearest template, 0 to 1


@dataclass(frozen=True)
class FoundScene:
    """What the oracle sees in a picture."""

    objects: tuple[FoundObject, ...]


def read_picture(picture: Image.Image | np.ndarray) -> FoundScene:
    """All objects in a square picture: PIL, or an array (height, width, 3) of uint8."""
    pixels_HWC = _pixels(picture)
    background_HWC = _background(pixels_HWC)
    difference_HWC = pixels_HWC - background_HWC
    towards_PC = _PALETTE_PC - background_HWC.mean((0, 1))
    colours_HW = _rough_colours(difference_HWC, towards_PC)
    labels_HW = np.empty(colours_HW.shape, np.int32)
    ndimage.label(colours_HW >= 0, TOUCHING, output=labels_HW)
    min_pixels = MIN_AREA * colours_HW.size
    found = []
    for label, box in enumerate(ndimage.find_objects(labels_HW), start=1):
        box = _widened(box, _edge_pixels(len(pixels_HWC)))
        inside_HW = labels_HW[box] == label
        if inside_HW.sum() < min_pixels:
            continue
        for part_HW in _single_coloured_parts(inside_HW, colours_HW[box], min_pixels):
            found.append(_read_object(part_HW, difference_HWC[box], towards_PC, box, len(pixels_HWC)))
    return FoundScene(tuple(found))


def _read_object(
    inside_HW: np.ndarray, difference_HWC: np.ndarray, towards_PC: np.ndarray, box: tuple[slice, ...], image_size: int
) -> FoundObject:
    """One object, from its silhouette in a box of the picture."""
    colour = _colour(difference_HWC[inside_HW], towards_PC)
    towards_C = towards_PC[colour]
    near_HW = ndimage.maximum_filter(inside_HW, 2 * _edge_pixels(image_size) + 1)
    coverage_HW = np.clip(difference_HWC @ towards_C / (towards_C @ towards_C), 0, 1) * near_HW
    seen = recognise(coverage_HW)
    radius = seen.radius / image_size
    return FoundObject(
        shape=seen.shape,
        colour=COLOURS[colour],
        size=size_of(radius),
        x=(box[1].start + seen.x) / image_size,
        y=(box[0].start + seen.y) / image_size,
        radius=radius,
        likeness=seen.likeness,
    )


def _pixels(picture: Image.Image | np.ndarray) -> np.ndarray:
    pixels = np.asarray(picture.convert("RGB") if isinstance(picture, Image.Image) else picture)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.shape[0] != pixels.shape[1] or pixels.dtype != np.uint8:
        raise ValueError(
            f"cannot read a picture of shape {pixels.shape} and type {pixels.dtype}: give a square RGB picture, "
            "(size, size, 3) of uint8"
        )
    return pixels.astype(np.float32)


@cache
def _frame(image_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Terms of a plane (1, x, y) at all pixels (H, W, 3), the mask (H, W) of the frame, and its terms (N, 3)."""
    steps = np.linspace(-1, 1, image_size, dtype=np.float32)
    terms_HWK = np.stack(np.broadcast_arrays(np.float32(1), steps, steps[:, None]), axis=-1)
    frame_HW = np.ones((image_size, image_size), bool)
    frame_HW[BORDER_PIXELS:-BORDER_PIXELS, BORDER_PIXELS:-BORDER_PIXELS] = False
    return terms_HWK, frame_HW, terms_HWK[frame_HW]


def _background(pixels_HWC: np.ndarray) -> np.ndarray:
    """The background under the objects: planes through those pixels of the frame that no object touches."""
    terms_HWK, frame_HW, terms_NK = _frame(pixels_HWC.shape[0])
    frame_NC = pixels_HWC[frame_HW]
    distance_N = np.linalg.norm(frame_NC - np.median(frame_NC, axis=0), axis=1)
    clear_N = distance_N < BORDER_TOLERANCE
    if clear_N.mean() < 0.2:  # no colour prevails: leave it at the median
        return np.broadcast_to(np.median(frame_NC, axis=0), pixels_HWC.shape)
    planes_KC = np.linalg.lstsq(terms_NK[clear_N], frame_NC[clear_N], rcond=None)[0]
    return terms_HWK @ planes_KC


def _rough_colours(difference_HWC: np.ndarray, towards_PC: np.ndarray) -> np.ndarray:
    """Each pixel's nearest palette colour (H, W), -1 for background.

    A pixel at an edge is a mixture: it lies on a line from the background to a colour, and is the object's from
    halfway on.
    """
    colours_HW = np.full(difference_HWC.shape[:2], -1)
    strong_HW = np.einsum("hwc,hwc->hw", difference_HWC, difference_HWC) > MIN_CONTRAST**2
    colours_N, coverage_N = _nearest(difference_HWC[strong_HW], towards_PC, 0.0)
    colours_HW[strong_HW] = np.where(coverage_N > 0.5, colours_N, -1)
    return colours_HW


def _nearest(difference_NC: np.ndarray, towards_PC: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """The palette colour whose line from the background passes nearest (N,), and how far along (N,), from ``least``."""
    along_NP, length_P = difference_NC @ towards_PC.T, (towards_PC**2).sum(1)
    coverage_NP = np.clip(along_NP / length_P, least, 1.05)
    # |d - c t|^2 without |d|^2, which is the same for all colours
    distance_NP = coverage_NP * (coverage_NP * length_P - 2 * along_NP)
    nearest_N = distance_NP.argmin(1)
    return nearest_N, np.take_along_axis(coverage_NP, nearest_N[:, None], 1)[:, 0]


def _colour(difference_NC: np.ndarray, towards_PC: np.ndarray) -> int:
    """An object's colour, by the mean of those of its pixels that are furthest from the background."""
    contrast_N = (difference_NC**2).sum(1)
    number = max(1, int(COLOURFUL_SHARE * len(contrast_N)))
    strongest = np.argpartition(contrast_N, -number)[-number:]
    mean_1C = difference_NC[strongest].mean(0, keepdims=True)
    return int(_nearest(mean_1C, towards_PC, 0.75)[0][0])


def _single_coloured_parts(inside_HW: np.ndarray, colours_HW: np.ndarray, min_pixels: float) -> Iterator[np.ndarray]:
    """A silhouette, or its parts where objects of different colours touch.

    Only the colours of its interior count: the edge of a red object is pink for a while.
    """
    interior_HW = np.asarray(ndimage.binary_erosion(inside_HW, TOUCHING), bool)
    counts_P = np.bincount(colours_HW[interior_HW], minlength=len(COLOURS))
    colours = np.flatnonzero(counts_P >= min_pixels)
    if len(colours) < 2:
        yield inside_HW
        return
    for colour in colours:
        yield inside_HW & (colours_HW == colour)


def _widened(box: tuple[slice, ...], pixels: int) -> tuple[slice, ...]:
    """Room around a box for the blurred edge; numpy cuts it off at the far sides of the picture."""
    return tuple(slice(max(0, each.start - pixels), each.stop + pixels) for each in box)


def _edge_pixels(image_size: int) -> int:
    return max(2, round(EDGE * image_size))
