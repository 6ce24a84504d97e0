"""The two encoders of CLIP, picture → vector and text → vector: one file a kind."""

from typing import Annotated

from pydantic import Field

from calligram.clip.towers.hf import HFTextConfig, HFTextTower
from calligram.clip.towers.projection import build_projection
from calligram.clip.towers.resnet import ResNet, ResNetConfig
from calligram.clip.towers.text import TextTower, TextTowerConfig
from calligram.clip.towers.timm import TimmConfig, TimmTower
from calligram.clip.towers.vit import ViT, ViTConfig

__all__ = [
    "HFTextConfig",
    "HFTextTower",
    "ImageTower",
    "ImageTowerConfig",
    "ResNet",
    "ResNetConfig",
    "TextConfig",
    "TextTower",
    "TextTowerConfig",
    "TimmConfig",
    "TimmTower",
    "ViT",
    "ViTConfig",
    "build_image_tower",
    "build_projection",
    "build_text_tower",
]

ImageTowerConfig = Annotated[ViTConfig | ResNetConfig | TimmConfig, Field(discriminator="type")]
TextConfig = Annotated[TextTowerConfig | HFTextConfig, Field(discriminator="type")]
ImageTower = ViT | ResNet | TimmTower


def build_image_tower(config: ImageTowerConfig, image_size: int) -> ImageTower:
    if isinstance(config, ViTConfig):
        return ViT(config, image_size)
    return ResNet(config, image_size) if isinstance(config, ResNetConfig) else TimmTower(config, image_size)


def build_text_tower(config: TextConfig, vocab_size: int, end_id: int) -> TextTower | HFTextTower:
    kind = TextTower if isinstance(config, TextTowerConfig) else HFTextTower
    return kind(config, vocab_size, end_id)  # pyright: ignore[reportArgumentType]
