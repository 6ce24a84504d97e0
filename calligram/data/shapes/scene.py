"""What can be in a picture: the vocabulary of shapes, colours, sizes and places, and the scene made of them."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Shape = Literal["circle", "square", "triangle", "star", "cross", "ring"]
# No colour starts with a vowel: "a {colour} {shape}" is right for all of them, which orange would break.
Colour = Literal["red", "green", "blue", "yellow", "purple", "pink", "cyan", "black"]
Size = Literal["small", "large"]
Place = Literal["top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right"]
Relation = Literal["left of", "right of", "above", "below"]
Kind = Literal["one-object", "two-object", "counting"]
RGB = tuple[int, int, int]

SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: tuple[Colour, ...] = get_args(Colour)
SIZES: tuple[Size, ...] = get_args(Size)
PLACES: tuple[Place, ...] = get_args(Place)  # row by row, as one reads
RELATIONS: tuple[Relation, ...] = get_args(Relation)
KINDS: tuple[Kind, ...] = get_args(Kind)

PALETTE: dict[Colour, RGB] = {
    "red": (215, 30, 40),
    "green": (30, 150, 60),
    "blue": (30, 70, 220),
    "yellow": (250, 210, 20),
    "purple": (120, 40, 175),
    "pink": (255, 105, 180),
    "cyan": (20, 200, 220),
    "black": (25, 25, 30),
}
RADII: dict[Size, tuple[float, float]] = {"small": (0.105, 0.120), "large": (0.170, 0.185)}
SIZE_THRESHOLD = (RADII["small"][1] + RADII["large"][0]) / 2
PLACE_THRESHOLDS = (0.4, 0.6)  # thirds of a kind: composed scenes stay clear of both lines
OPPOSITE: dict[Relation, Relation] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}

CLASSES: tuple[tuple[Colour, Shape], ...] = tuple((colour, shape) for shape in SHAPES for colour in COLOURS)
# Never together in train and test: whoever draws or finds these has put shape and colour together on their own.
HOLDOUT_CLASSES: tuple[tuple[Colour, Shape], ...] = (
    ("pink", "circle"),
    ("purple", "square"),
    ("yellow", "triangle"),
    ("green", "star"),
    ("cyan", "cross"),
    ("blue", "ring"),
)
SEEN_CLASSES = tuple(pair for pair in CLASSES if pair not in HOLDOUT_CLASSES)


class SceneObject(BaseModel):
    """One drawn object. Lengths are in units of the image: (0, 0) is the top left corner, (1, 1) the bottom right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: Shape
    colour: Colour
    size: Size
    x: float = Field(ge=0, le=1)
    y: float = Field(ge=0, le=1)
    radius: float = Field(gt=0, le=0.5)  # of the circle around the shape
    angle: float = 0.0  # degrees


class Scene(BaseModel):
    """All that a picture shows; its JSON (``model_dump_json``) is enough to draw it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    background: RGB
    objects: tuple[SceneObject, ...]


def size_of(radius: float) -> Size:
    """Small or large, by a threshold midway between the two ranges of radii."""
    return "small" if radius < SIZE_THRESHOLD else "large"


def place_of(x: float, y: float) -> Place:
    """The cell of a 3 x 3 grid in which a point lies."""
    low, high = PLACE_THRESHOLDS
    column = (x > low) + (x > high)
    row = (y > low) + (y > high)
    return PLACES[3 * row + column]


def relation_of(x: float, y: float, other_x: float, other_y: float) -> Relation:
    """How the first point lies to the second, by the axis on which they are further apart."""
    across, down = other_x - x, other_y - y
    if abs(across) >= abs(down):
        return "left of" if across >= 0 else "right of"
    return "above" if down >= 0 else "below"
