"""From a tower's width to the shared space."""

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from calligram.errors import UserError

Projection = Annotated[
    Literal["linear", "affine", "none"],
    Field(description="from the tower to the shared space: a matrix, one with a bias, or nothing, at equal widths"),
]


def build_projection(kind: Projection, width: int, embed_dim: int) -> nn.Module:
    """(B, width) → (B, embed_dim)."""
    if kind == "none":
        if width != embed_dim:
            raise UserError(f"projection none: the tower is {width} wide and embed_dim is {embed_dim}; make them equal")
        return nn.Identity()
    layer = nn.Linear(width, embed_dim, bias=kind == "affine")
    nn.init.normal_(layer.weight, std=width**-0.5)
    if kind == "affine":
        nn.init.zeros_(layer.bias)
    return layer
