"""Any picture → the square that a model was trained to read, pixel by pixel as those who trained it did."""

from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from calligram.pictures import flatten, square, to_tensor, upright

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class PreprocessConfig(BaseModel):
    """How a picture becomes a square."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: Literal["crop", "squash"] = Field(
        default="crop", description="the shorter side to the model's size and the centre of it, or both sides by force"
    )
    filter: Literal["bicubic", "bilinear"] = Field(default="bicubic", description="what scales pixels")
    like: Literal["calligram", "open_clip", "transformers"] = Field(
        default="calligram",
        description="whose rules hold for all else: ours turn a picture by its EXIF data and lay what is transparent "
        "on white; transformers does not turn it; open_clip does neither, and resizes ahead of making it RGB",
    )

    @property
    def is_ours(self) -> bool:
        """Whether this is what the loader of a training does."""
        return self == PreprocessConfig()


def prepare(image: Image.Image, size: int, config: PreprocessConfig) -> Tensor:
    """A picture of any size and mode → uint8 (3, size, size)."""
    if config.is_ours:
        return to_tensor(square(upright(image), size))
    if config.like == "transformers":
        return _as_transformers(image, size, config)
    if config.like == "calligram":
        image = upright(image)
    if config.resize == "squash":
        resized = image.resize((size, size), FILTERS[config.filter])
    else:
        extent = _shorter_side(image.size, size)
        resized = image if extent == image.size else image.resize(extent, FILTERS[config.filter])
        # where the rest is odd torchvision rounds halves to even
        left, top = (round((side - size) / 2) for side in extent)
        resized = resized.crop((left, top, left + size, top + size))
    return to_tensor(resized.convert("RGB"))


def _as_transformers(image: Image.Image, size: int, config: PreprocessConfig) -> Tensor:
    """As transformers 5: torchvision's resize of tensors, which rounds otherwise than Pillow's."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    pixels = to_tensor(flatten(image) if image.has_transparency_data else image.convert("RGB"))
    width, height = (size, size) if config.resize == "squash" else _shorter_side(image.size, size)
    mode = InterpolationMode(config.filter)
    pixels = functional.resize(pixels.contiguous(), [height, width], interpolation=mode, antialias=True)
    top, left = (height - size) // 2, (width - size) // 2  # halves down
    return pixels[:, top : top + size, left : left + size].contiguous()


def _shorter_side(extent: tuple[int, int], size: int) -> tuple[int, int]:
    width, height = (size * side // min(extent) for side in extent)
    return width, height
