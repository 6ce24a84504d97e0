"""Pictures of any size → the square that a model reads, with or without augmentation."""

import numpy as np
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from calligram.pictures import square, to_tensor


class AugmentConfig(BaseModel):
    """Random changes to training pictures; all off by default, since a caption may speak of places."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: bool = Field(default=False, description="mirror every other picture left to right")
    min_crop: float = Field(default=1.0, gt=0, le=1, description="smallest share of the side that a random crop keeps")
    shift: int = Field(default=0, ge=0, description="largest random shift in pixels of the model's square")


def train_transform(image: Image.Image, size: int, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """A random crop, shift and mirror image of an RGB picture, as configured. uint8 (3, size, size)."""
    if config.min_crop < 1:
        side = max(1, round(min(image.size) * rng.uniform(config.min_crop, 1)))
        left, top = (int(rng.integers(0, extent - side + 1)) for extent in image.size)
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    else:
        image = square(image, size)
    if config.shift:
        dx, dy = (int(v) for v in rng.integers(-config.shift, config.shift + 1, 2))
        pixels = np.pad(np.asarray(image), ((config.shift,) * 2, (config.shift,) * 2, (0, 0)), mode="edge")
        top, left = config.shift + dy, config.shift + dx
        image = Image.fromarray(pixels[top : top + size, left : left + size])
    if config.flip and rng.random() < 0.5:
        image = ImageOps.mirror(image)
    return to_tensor(image)
