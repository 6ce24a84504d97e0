"""Which text tokenizer a model reads with."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from calligram.tokenizers.text import TextTokenizer


class TextTokenizerConfig(BaseModel):
    """CLIP's vocabulary, or a small one trained on the captions at hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["clip", "bpe"] = Field(default="bpe", description="clip: CLIP's 49,408 tokens; bpe: trained anew")
    vocab_size: int = Field(default=1024, ge=260, description="largest size of a vocabulary that is trained anew")

    def build(self, captions: Iterable[str], context_length: int) -> TextTokenizer:
        if self.type == "clip":
            return TextTokenizer.clip(context_length)
        return TextTokenizer.train(captions, self.vocab_size, context_length)
