"""The dual encoder (arXiv 2103.00020).

# B batch, T tokens, E embedding
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from calligram.clip.preprocess import PreprocessConfig
from calligram.clip.towers import (
    HFTextConfig,
    ImageTowerConfig,
    ResNetConfig,
    TextConfig,
    TextTowerConfig,
    ViT,
    ViTConfig,
    build_image_tower,
    build_projection,
    build_text_tower,
)
from calligram.clip.towers.resnet import STRIDE
from calligram.errors import UserError
from calligram.nn.image import to_float
from calligram.nn.pictures import Pictures

MAX_LOGIT_SCALE = math.log(100)  # the paper's cap on the inverse temperature


class ClipConfig(BaseModel):
    """A CLIP model; the vocabulary's size and end token come from the text tokenizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["clip"] = "clip"
    image_size: int = Field(default=64, ge=8, description="pixels a side")
    embed_dim: int = Field(default=128, ge=1, description="width of the shared space")
    image: ImageTowerConfig = ViTConfig()
    text: TextConfig = TextTowerConfig()
    mean: tuple[float, float, float] = Field(default=(0.5, 0.5, 0.5), description="subtracted from pixels in 0 … 1")
    std: tuple[float, float, float] = Field(default=(0.25, 0.25, 0.25), description="by which pixels are divided")
    init_scale: float = Field(default=1 / 0.07, ge=1, le=100, description="inverse temperature at the start")
    init_bias: float | None = Field(default=None, description="bias at the start, which the sigmoid loss wants")
    preprocess: PreprocessConfig = PreprocessConfig()

    @model_validator(mode="before")
    @classmethod
    def _text_has_a_type(cls, values: Any) -> Any:
        """Configs that were written when there was one kind of text tower do not name it."""
        if isinstance(values, dict) and isinstance(text := values.get("text"), dict):
            return {**values, "text": {"type": "transformer", **text}}
        return values

    @model_validator(mode="after")
    def _patches_fit_image(self) -> "ClipConfig":
        if isinstance(self.image, ViTConfig) and self.image_size % self.image.patch and not self.image.ragged:
            raise ValueError(f"image_size {self.image_size} is not divisible by patch {self.image.patch}")
        if isinstance(self.image, ResNetConfig) and self.image_size % STRIDE:
            raise ValueError(f"image_size {self.image_size} is not divisible by {STRIDE}, the stride of the ResNet")
        return self

    @model_validator(mode="after")
    def _a_vit_reads_native_pictures(self) -> "ClipConfig":
        if self.preprocess.is_native and not isinstance(self.image, ViTConfig):
            raise ValueError(f"preprocess.resize native takes a ViT of ours (image.type vit), not {self.image.type}")
        return self

    @property
    def patch(self) -> int:
        """Pixels, of which the sides of native pictures are multiples."""
        return self.image.patch if isinstance(self.image, ViTConfig) else 1

    @property
    def num_patches(self) -> int:
        """Of the model's own square."""
        return (self.image_size // self.patch) ** 2

    @property
    def max_patches(self) -> int:
        """Of a native picture."""
        return self.preprocess.max_patches or self.num_patches

    def without_download(self) -> "ClipConfig":
        """The same model, whose towers fetch nothing: for weights that are loaded next."""
        parts = {"image": self.image, "text": self.text}
        fetching = {name: part for name, part in parts.items() if getattr(part, "pretrained", False)}
        return self.model_copy(
            update={name: part.model_copy(update={"pretrained": False}) for name, part in fetching.items()}
        )

    def resolved(self) -> "ClipConfig":
        """The same model, with all inside that building it takes: what a run writes down."""
        if isinstance(self.text, HFTextConfig):
            return self.model_copy(update={"text": self.text.resolved()})
        return self


class Clip(nn.Module):
    """Embeds pictures and texts on one unit sphere; ``logit_scale`` is the learned log inverse temperature.

    ``logit_bias`` is learned, too, where the config has an ``init_bias``, as the sigmoid loss wants it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ClipConfig, vocab_size: int, end_id: int):
        super().__init__()
        self.config = config
        self.visual = build_image_tower(config.image, config.image_size)
        self.text = build_text_tower(config.text, vocab_size, end_id)
        self.visual_projection = build_projection(config.image.projection, self.visual.width, config.embed_dim)
        self.text_projection = build_projection(config.text.projection, self.text.width, config.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(config.init_scale)))
        # a parameter only where a loss uses it
        self.logit_bias = None if config.init_bias is None else nn.Parameter(torch.tensor(config.init_bias))
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)

    def encode_image(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """(B, 3, H, W), uint8 or 0 … 1 → unit vectors (B, E). A ViT of ours also takes pictures of several sizes.

        Those are a list of (3, H, W), and go through it in one row. Raises UserError where the tower cannot.
        """
        if isinstance(images, Tensor):
            return _unit(self.visual_projection(self.visual(self._normalised(images))))
        if not isinstance(self.visual, ViT):
            raise UserError(
                f"pictures of several sizes: only a ViT of ours reads them, this model's tower is a "
                f"{self.config.image.type}; give a tensor (B, 3, H, W)"
            )
        pictures = Pictures.of(images).map(self._normalised)
        return _unit(self.visual_projection(self.visual(pictures)))

    def _normalised(self, images: Tensor) -> Tensor:
        return (to_float(images) - self.mean) / self.std

    def encode_text(self, text_BT: Tensor) -> Tensor:
        """Token ids (B, T) → unit vectors (B, E)."""
        return _unit(self.text_projection(self.text(text_BT)))

    def scale(self) -> Tensor:
        """The factor on cosine similarities; the task keeps it between 1 and 100."""
        # no clamp here: at the bound it would cut off the gradient, and the temperature would stay there for good
        return self.logit_scale.exp()


def _unit(x_BE: Tensor) -> Tensor:
    """In fp32 at least: half a type's digits are not enough to tell near vectors apart."""
    return F.normalize(x_BE.float() if x_BE.dtype.itemsize < 4 else x_BE, dim=-1)
