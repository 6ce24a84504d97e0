"""A space in which sets of pictures are compared: the name of it is part of every metric measured there."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Space(Protocol):
    """Features of pictures, from Inception where its weights are at hand, or from a named CLIP."""

    name: str  # lower case, digits and underscores: it stands in the metric's name, as in dalle.fid_clip_shapes

    def embed(self, images_uint8: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → fp32 (B, D) on the CPU."""
        ...
