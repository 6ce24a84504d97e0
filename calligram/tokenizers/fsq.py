"""Image tokenizer with finite scalar quantisation (FSQ, arXiv 2309.15505).

Each latent channel is squashed and rounded to a few levels; the token is the number that the rounded
channels spell. There is no codebook to learn, so none to collapse.

# B batch, C latent channels, h w the token grid
"""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from vector_quantize_pytorch import FSQ

from calligram.tokenizers.autoencoder import AnyAutoencoderConfig, AutoencoderConfig
from calligram.tokenizers.quantized import Quantised, QuantizedAutoencoder, whole_grid


def _at_least_three(levels: tuple[int, ...]) -> tuple[int, ...]:
    if not levels or min(levels) < 3:
        raise ValueError(f"levels {levels}: name at least one channel, each with 3 levels or more")
    return levels


class FSQConfig(BaseModel):
    """An FSQ image tokenizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["fsq"] = "fsq"
    image_size: int = Field(default=64, ge=8, description="pixels a side")
    levels: Annotated[tuple[int, ...], AfterValidator(_at_least_three)] = Field(
        default=(8, 5, 5, 5), description="levels of each latent channel; their product is the vocabulary"
    )
    autoencoder: AnyAutoencoderConfig = AutoencoderConfig()

    _grid_is_whole = model_validator(mode="after")(whole_grid)

    @property
    def vocab_size(self) -> int:
        return math.prod(self.levels)

    @property
    def grid(self) -> int:
        """Tokens a side."""
        return self.image_size // self.autoencoder.factor


class FSQTokenizer(QuantizedAutoencoder):
    """Pictures ⇄ image tokens, with no codebook to learn."""

    config: FSQConfig

    def __init__(self, config: FSQConfig):
        super().__init__(config, len(config.levels), FSQ(levels=list(config.levels)))

    def quantize(self, latent: Tensor) -> Quantised:
        codes, ids_Bhw = self.quantizer(latent)
        return codes, ids_Bhw, {}

    def codes(self, ids_Bhw: Tensor) -> Tensor:
        return self.quantizer.indices_to_codes(ids_Bhw)
