"""From a tower's width to the shared space."""

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from calligram.errors import UserError

Projection = Annotated[
    Literal["linear", "affine", "mlp", "none"],
    Field(
        description="from the tower to the shared space: a matrix, one with a bias, two with GELU between them, "
        "or nothing, at equal widths"
    ),
]


def build_projection(kind: Projection, width: int, embed_dim: int) -> nn.Module:
    """(B, width) → (B, embed_dim)."""
    if kind == "none":
        if width != embed_dim:
            raise UserError(f"projection none: the tower is {width} wide and embed_dim is {embed_dim}; make them equal")
        return nn.Identity()
    if kind == "mlp":  # as wide as open_clip's
        hidden = (width + embed_dim) // 2
        layers = [build_projection("linear", *sizes) for sizes in ((width, hidden), (hidden, embed_dim))]
        return nn.Sequential(layers[0], nn.GELU(), layers[1])
    layer = nn.Linear(width, embed_dim, bias=kind == "affine")
    nn.init.normal_(layer.weight, std=width**-0.5)
    if kind == "affine":
        nn.init.zeros_(layer.bias)
    return layer
