"""Pictures of any size → the square that a model reads, with or without augmentation."""

import math
from typing import Self

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from calligram.data.decode import decode_square
from calligram.data.draws import Draws
from calligram.pictures import Box, cut, to_tensor

MAX_TRIES = 10  # of torchvision's RandomResizedCrop, before it takes the centre


class AugmentConfig(BaseModel):
    """Random changes to training pictures; all off by default, since a caption may speak of places."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: bool = Field(default=False, description="mirror every other picture left to right")
    min_crop: float = Field(default=1.0, gt=0, le=1, description="smallest share of the side that a random crop keeps")
    scale: tuple[float, float] | None = Field(
        default=None,
        description="in place of min_crop: smallest and largest share of the area that a random crop keeps; open_clip "
        "trains with 0.9 and 1",
    )
    ratio: tuple[float, float] = Field(
        default=(3 / 4, 4 / 3),
        description="narrowest and widest such crop, width / height; it is squeezed to a square, but where pictures "
        "are native: there crops keep their picture's",
    )
    shift: int = Field(default=0, ge=0, description="largest random shift in pixels of what the model reads")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale {self.scale} is not a smallest and a largest share of the area: give, say, 0.9 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio {self.ratio} is not a smallest and a largest width / height: give, say, 0.75 1.33")
        if self.scale is not None and self.min_crop < 1:
            raise ValueError(f"min_crop {self.min_crop} and scale {self.scale} both say how to crop: give one")
        return self


def train_square(data: bytes, size: int, config: AugmentConfig, draws: Draws) -> Tensor:
    """A random crop, shift and mirror image of an encoded picture, as configured. uint8 (3, size, size)."""
    return change(decode_square(data, size, lambda extent: draw_box(extent, config, draws)), config, draws)


def train_transform(image: Image.Image, size: int, config: AugmentConfig, draws: Draws) -> Tensor:
    """The same of an RGB picture that is decoded already."""
    return change(to_tensor(cut(image, draw_box(image.size, config, draws), size)), config, draws)


def draw_box(extent: tuple[int, int], config: AugmentConfig, draws: Draws) -> Box | None:
    """What to keep of a picture of ``extent`` (width, height); None for the centre, where crops are not random."""
    if config.scale is not None:
        return draw_area(extent, config.scale, config.ratio, draws)
    if config.min_crop == 1:
        return None
    side = max(1, round(min(extent) * draws.uniform(config.min_crop, 1)))
    left, top = (draws.integers(0, whole - side + 1) for whole in extent)
    return left, top, left + side, top + side


def draw_area(extent: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], draws: Draws) -> Box:
    """A share of the area, as torchvision's RandomResizedCrop draws it, with which CLIP is trained."""
    whole_width, whole_height = extent
    for _ in range(MAX_TRIES):
        area = whole_width * whole_height * draws.uniform(*scale)
        aspect = math.exp(draws.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= whole_width and 0 < height <= whole_height:
            top = draws.integers(0, whole_height - height + 1)
            left = draws.integers(0, whole_width - width + 1)
            return left, top, left + width, top + height
    # a very long picture: as much as the ratio allows, from the middle
    aspect = min(max(whole_width / whole_height, ratio[0]), ratio[1])
    width, height = min(whole_width, round(whole_height * aspect)), min(whole_height, round(whole_width / aspect))
    left, top = (whole_width - width) // 2, (whole_height - height) // 2
    return left, top, left + width, top + height


def change(x: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    """Shift and mirror a picture (3, H, W), the edge repeated where nothing is left."""
    if not config.shift and not config.flip:
        return x
    pixels = x.numpy()  # numpy, since torch would wake its threads for so little
    if config.shift:
        dx, dy = (draws.integers(-config.shift, config.shift + 1) for _ in range(2))
        rows, columns = ((np.arange(n) + d).clip(0, n - 1) for n, d in zip(pixels.shape[1:], (dy, dx), strict=True))
        pixels = pixels[:, rows][:, :, columns]
    if config.flip and draws.random() < 0.5:
        pixels = pixels[:, :, ::-1]
    return torch.from_numpy(np.ascontiguousarray(pixels))
