"""What a DALL-E decoder is made of."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from calligram.nn.decoder import DecoderConfig, PlainConfig
from calligram.nn.transformer import TransformerConfig


class DalleConfig(BaseModel):
    """A DALL-E decoder; the sizes of vocabularies and grid come from the two tokenizers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["dalle"] = "dalle"
    text_length: int = Field(default=24, ge=3, description="text tokens of the sequence, start and end included")
    token_shift: int = Field(
        default=0, ge=0, description="how many of the tokens before it a text token takes in ahead of the first layer"
    )
    text: Literal["padded", "packed"] = Field(
        default="padded",
        description="padded: behind its end a text is filled with pads, a learned one a position; packed: the picture "
        "follows directly behind the text's end",
    )
    neighbours: bool = Field(
        default=True, description="whether an image token takes in those above its successor ahead of the first layer"
    )
    heads: Literal["tied", "own"] = Field(
        default="tied", description="what turns outputs into logits: the tables of embeddings, or matrices of their own"
    )
    transformer: DecoderConfig = PlainConfig()

    @model_validator(mode="before")
    @classmethod
    def _transformer_has_a_type(cls, values: Any) -> Any:
        """Configs that were written when there was one kind of Transformer do not name it."""
        if not isinstance(values, dict) or (given := values.get("transformer")) is None:
            return values
        if isinstance(given, TransformerConfig) and not isinstance(given, PlainConfig):
            given = given.model_dump()
        return {**values, "transformer": {"type": "plain", **given} if isinstance(given, dict) else given}
