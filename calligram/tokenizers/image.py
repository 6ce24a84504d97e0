"""All kinds of image tokenizers, by the ``type`` of their config."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from calligram.tokenizers.base import ImageTokenizer, Pass
from calligram.tokenizers.dvae import DVAEConfig, DVAETokenizer
from calligram.tokenizers.fsq import FSQConfig, FSQTokenizer
from calligram.tokenizers.lfq import LFQConfig, LFQTokenizer
from calligram.tokenizers.vq import VQConfig, VQTokenizer
from calligram.tokenizers.vqgan import VQGANConfig, VQGANTokenizer

__all__ = ["ImageTokenizer", "ImageTokenizerConfig", "Pass", "build_image_tokenizer"]


def _fsq_unless_told(values: Any) -> Any:
    return {"type": "fsq", **values} if isinstance(values, dict) else values


ImageTokenizerConfig = Annotated[
    FSQConfig | VQConfig | LFQConfig | DVAEConfig | VQGANConfig,
    Field(discriminator="type"),
    BeforeValidator(_fsq_unless_told),
]


def build_image_tokenizer(config: ImageTokenizerConfig, num_processes: int = 1) -> ImageTokenizer:
    """With random weights. ``num_processes`` train it together, which one with running averages has to know."""
    if isinstance(config, VQConfig):
        return VQTokenizer(config, num_processes)
    if isinstance(config, FSQConfig):
        return FSQTokenizer(config)
    if isinstance(config, LFQConfig):
        return LFQTokenizer(config)
    return DVAETokenizer(config) if isinstance(config, DVAEConfig) else VQGANTokenizer(config)
