"""Which text tokenizer a model reads with."""

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from calligram.tokenizers.text import TextTokenizer


class TextTokenizerConfig(BaseModel):
    """CLIP's vocabulary, a small one trained on the captions at hand, that of a model of Hugging Face, or classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["clip", "bpe", "hf", "labels"] = Field(
        default="bpe",
        description="clip: CLIP's 49,408 tokens; bpe: trained anew; hf: of the model that name names; labels: one "
        "token for each class of the data, whose captions name a class and nothing else",
    )
    name: str = Field(default="", description="for hf: a name on the hub, or a folder with tokenizer.json")
    vocab_size: int = Field(default=1024, ge=260, description="largest size of a vocabulary that is trained anew")

    @model_validator(mode="after")
    def _hf_has_a_name(self) -> "TextTokenizerConfig":
        if (self.type == "hf") != bool(self.name):
            raise ValueError("text_tokenizer.name and type hf belong together: give both, or neither")
        return self

    def build(
        self,
        captions: Iterable[str],
        context_length: int,
        class_names: Sequence[str] = (),
        templates: Sequence[str] = ("{}",),
    ) -> TextTokenizer:
        """``class_names`` and ``templates`` are those of the data's manifest."""
        if self.type == "labels":
            from calligram.tokenizers.labels import LabelTokenizer

            return LabelTokenizer.of(class_names, templates, context_length)
        if self.type == "clip":
            return TextTokenizer.clip(context_length)
        if self.type == "hf":
            from calligram.tokenizers.hf import HFTextTokenizer

            return HFTextTokenizer.of(self.name, context_length)
        return TextTokenizer.train(captions, self.vocab_size, context_length)
