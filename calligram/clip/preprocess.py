"""Any picture → what a model was trained to read, pixel by pixel as those who trained it prepared it."""

from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor

from calligram.pictures import flatten, native_size, square, to_tensor, upright

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
Extent = tuple[int, int]  # width and height in pixels


class PreprocessConfig(BaseModel):
    """How a picture becomes what the model reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: Literal["crop", "squash", "native"] = Field(
        default="crop",
        description="the shorter side to the model's size and the centre of it, or both sides by force; native keeps "
        "the whole picture and its aspect ratio, at max_patches",
    )
    max_patches: int | None = Field(
        default=None,
        ge=1,
        description="of a native picture, which is as large as they allow; unless given, as many as the square has",
    )
    filter: Literal["bicubic", "bilinear"] = Field(default="bicubic", description="what scales pixels")
    like: Literal["calligram", "open_clip", "transformers"] = Field(
        default="calligram",
        description="whose rules hold for all else: ours turn a picture by its EXIF data and lay what is transparent "
        "on white; transformers does not turn it; open_clip does neither, and resizes ahead of making it RGB",
    )

    @property
    def is_ours(self) -> bool:
        """Whether this is what the loader of a training does to make squares."""
        return self == PreprocessConfig()

    @property
    def is_native(self) -> bool:
        return self.resize == "native"

    @model_validator(mode="after")
    def _patches_are_of_native_pictures(self) -> "PreprocessConfig":
        if self.max_patches is not None and not self.is_native:
            raise ValueError(f"max_patches {self.max_patches} is for resize native, not {self.resize}: leave one out")
        return self

    @model_serializer(mode="wrap")
    def _nothing_where_there_is_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As configs were written before there was max_patches: fingerprints of models depend on it."""
        return {name: value for name, value in handler(self).items() if name != "max_patches" or value is not None}


def prepare(image: Image.Image, size: int, config: PreprocessConfig, patch: int = 1) -> Tensor:
    """A picture of any size and mode → uint8 (3, size, size), or natively (3, H, W) with multiples of ``patch``."""
    if config.is_ours:
        return to_tensor(square(upright(image), size))
    if config.like == "transformers":
        return _as_transformers(image, size, config, patch)
    if config.like == "calligram":
        image = upright(image)
    extent = _extent(image.size, size, config, patch)
    image = image if extent == image.size else image.resize(extent, FILTERS[config.filter])
    if config.resize == "crop":
        # where the rest is odd torchvision rounds halves to even
        left, top = (round((side - size) / 2) for side in extent)
        image = image.crop((left, top, left + size, top + size))
    return to_tensor(image.convert("RGB"))


def _as_transformers(image: Image.Image, size: int, config: PreprocessConfig, patch: int) -> Tensor:
    """As transformers 5: torchvision's resize of tensors, which rounds otherwise than Pillow's."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    pixels = to_tensor(flatten(image) if image.has_transparency_data else image.convert("RGB"))
    width, height = _extent(image.size, size, config, patch)
    mode = InterpolationMode(config.filter)
    pixels = functional.resize(pixels.contiguous(), [height, width], interpolation=mode, antialias=True)
    if config.resize != "crop":
        return pixels.contiguous()
    top, left = (height - size) // 2, (width - size) // 2  # halves down
    return pixels[:, top : top + size, left : left + size].contiguous()


def _extent(extent: Extent, size: int, config: PreprocessConfig, patch: int) -> Extent:
    """To which a picture is scaled."""
    if config.is_native:
        return native_size(extent, patch, config.max_patches or (size // patch) ** 2)
    if config.resize == "squash":
        return size, size
    width, height = (size * side // min(extent) for side in extent)
    return width, height
