"""What a caption says of a picture: a partial scene, as one can check it."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from calligram.data.shapes.scene import Colour, Place, Relation, Shape, Size

# The six tasks of GenEval (arXiv 2310.11513), as far as drawings of shapes have them.
Category = Literal["single object", "two object", "counting", "colors", "position", "attribute binding"]


class ObjectClaims(BaseModel):
    """What is said of one object, or of each of several."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: Shape
    colour: Colour | None = None
    size: Size | None = None


class Claims(BaseModel):
    """Says that there are these objects and no others.

    With ``count``, there are so many of the one object described. ``place`` is where the only object is.
    ``relation`` is how the first object lies to the second: ``objects[0] left of objects[1]``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objects: tuple[ObjectClaims, ...]
    count: int | None = None
    place: Place | None = None
    relation: Relation | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        number = len(self.objects)
        if number not in (1, 2):
            raise ValueError(f"a caption is about one or two objects, not {number}; give several of a kind as count")
        if self.relation and number == 1:
            raise ValueError(f"relation {self.relation!r} needs two objects, not one")
        if number == 2 and (self.count is not None or self.place):
            raise ValueError("count and place are of one object: leave them out where there are two")
        if self.count is not None and (self.count < 1 or self.place):
            raise ValueError(f"count {self.count}: give at least 1, and no place with it")
        return self

    def to_json(self) -> dict[str, Any]:
        """As JSON types, without what is left unsaid; ``Claims.model_validate`` reads it back."""
        return self.model_dump(mode="json", exclude_none=True)


def category(claims: Claims) -> Category:
    """Which of GenEval's tasks a caption with these claims belongs to."""
    coloured = any(each.colour for each in claims.objects)
    if claims.count is not None:
        return "counting"
    if claims.place or claims.relation:
        return "position"
    if len(claims.objects) == 1:
        return "colors" if coloured else "single object"
    return "attribute binding" if coloured else "two object"
