"""What one run is: data, model, tokenizers and training, one type for each task.

``config.json`` of a run is one of these, and is all that is needed to rebuild its model.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from calligram.clip.model import ClipConfig
from calligram.dalle.model import DalleConfig
from calligram.dalle.sampling import SamplingConfig
from calligram.dalle.task import DalleLossConfig
from calligram.data.training import DataConfig
from calligram.tokenizers.fsq import FSQConfig
from calligram.tokenizers.text_config import TextTokenizerConfig
from calligram.train.config import TrainConfig


class _Run(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    init: Path | None = Field(default=None, description="run whose weights, and words, to begin with: for fine-tuning")


class TokenizerRun(_Run):
    """Train an image tokenizer."""

    type: Literal["tokenizer"] = "tokenizer"
    model: FSQConfig = FSQConfig()


class ClipRun(_Run):
    """Train a CLIP."""

    type: Literal["clip"] = "clip"
    model: ClipConfig = ClipConfig()
    text_tokenizer: TextTokenizerConfig = TextTokenizerConfig()
    hard_negatives: bool = Field(
        default=False,
        description="set each picture against a caption that is nearly true, too; the data must have negatives",
    )


class DalleRun(_Run):
    """Train a DALL-E on the tokens of an image tokenizer."""

    type: Literal["dalle"] = "dalle"
    image_tokenizer: Path = Field(default=Path("runs/fsq-shapes"), description="run of the image tokenizer")
    model: DalleConfig = DalleConfig()
    text_tokenizer: TextTokenizerConfig = TextTokenizerConfig()
    loss: DalleLossConfig = DalleLossConfig()
    sampling: SamplingConfig = Field(default=SamplingConfig(), description="how `generate` draws unless told otherwise")


Run = Annotated[TokenizerRun | ClipRun | DalleRun, Field(discriminator="type")]
