"""Which Transformer reads text and picture: the one that CLIP's towers have, too, or today's."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from calligram.nn.llama import Llama, LlamaConfig
from calligram.nn.picture_mask import Kinds
from calligram.nn.transformer import Transformer, TransformerConfig


class PlainConfig(TransformerConfig):
    """A Transformer with LayerNorm and learned positions, as the paper's (arXiv 2102.12092)."""

    type: Literal["plain"] = "plain"
    attention: Kinds = Field(
        default="full", description="what image tokens see; paper: row, column and, last, convolution"
    )
    kernel: int = Field(default=11, ge=1, description="tokens a side of convolutional attention; odd")

    @model_validator(mode="after")
    def _kernel_has_a_middle(self) -> "PlainConfig":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} has no middle: give an odd one")
        return self


DecoderConfig = Annotated[PlainConfig | LlamaConfig, Field(discriminator="type")]


def build_decoder(config: PlainConfig | LlamaConfig) -> Transformer | Llama:
    """A causal Transformer; both kinds are called alike, and have a cache of their own shape."""
    return Llama(config) if isinstance(config, LlamaConfig) else Transformer(config, causal=True)
