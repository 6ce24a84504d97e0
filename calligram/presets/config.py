"""What one run is: data, model, tokenizers and training, one type for each task.

``config.json`` of a run is one of these, and is all that is needed to rebuild its model.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from calligram.clip.losses.config import DistillConfig, LossConfig, SigmoidConfig, SoftmaxConfig
from calligram.clip.model import ClipConfig
from calligram.clip.towers import ViTConfig
from calligram.dalle.model import DalleConfig
from calligram.dalle.sampling import SamplingConfig
from calligram.dalle.task import DalleLossConfig
from calligram.data.place import Place
from calligram.data.training import DataConfig
from calligram.tokenizers.fsq import FSQConfig
from calligram.tokenizers.image import ImageTokenizerConfig
from calligram.tokenizers.losses import TokenizerLossConfig
from calligram.tokenizers.text_config import TextTokenizerConfig
from calligram.train.config import TrainConfig


class WatchConfig(BaseModel):
    """What is looked at while a model is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int = Field(default=0, ge=0, description="steps between looks: evaluation, sample pictures; 0: none")
    tasks: tuple[str, ...] = Field(
        default=(),
        description="evaluation tasks; unless given, zero-shot and retrieval, reconstruction or likelihood, "
        "where they fit the data",
    )
    shards: Place | None = Field(
        default=None, description="data to look with; unless given, the data of the training (--data.shards)"
    )
    split: str = Field(default="test", description="split of it")
    max_samples: int = Field(default=1000, ge=1, description="pictures that an evaluation task reads at most")
    num_pictures: int = Field(
        default=8, ge=0, description="pictures that are drawn, or rebuilt from their tokens, into the run's samples/"
    )
    prompts: tuple[str, ...] = Field(
        default=(), description="what a DALL-E draws; unless given, captions of that split"
    )


class _Run(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    watch: WatchConfig = WatchConfig()
    init: Path | None = Field(
        default=None, description="run, or model of others, whose weights and words to begin with: for fine-tuning"
    )


class TokenizerRun(_Run):
    """Train an image tokenizer."""

    type: Literal["tokenizer"] = "tokenizer"
    model: ImageTokenizerConfig = FSQConfig()
    loss: TokenizerLossConfig = TokenizerLossConfig()


class ClipRun(_Run):
    """Train a CLIP."""

    type: Literal["clip"] = "clip"
    model: ClipConfig = ClipConfig()
    text_tokenizer: TextTokenizerConfig = TextTokenizerConfig()
    loss: LossConfig = SoftmaxConfig()
    distill: DistillConfig = DistillConfig()
    hard_negatives: bool = Field(
        default=False,
        description="set each picture against a caption that is nearly true, too; the data must have negatives",
    )

    @model_validator(mode="after")
    def _a_stem_wants_one_size(self) -> "ClipRun":
        image = self.model.image
        if self.model.preprocess.is_native and isinstance(image, ViTConfig) and image.stem:
            raise ValueError(
                "model.preprocess.resize native: the stem's BatchNorm would learn from the few pictures of one size at "
                "a time; leave model.image.stem out"
            )
        return self

    @model_validator(mode="after")
    def _a_teacher_reads_squares(self) -> "ClipRun":
        if self.model.preprocess.is_native and self.distill.teacher is not None:
            raise ValueError(
                f"distill.teacher {self.distill.teacher}: a teacher reads squares, not native pictures; leave it or "
                "model.preprocess.resize native out"
            )
        return self

    @model_validator(mode="after")
    def _bias_goes_with_the_sigmoid(self) -> "ClipRun":
        if isinstance(self.loss, SigmoidConfig) and self.model.init_bias is None:
            raise ValueError(
                "the sigmoid loss learns a bias, and model.init_bias is not set: give --model.init-bias -10, "
                "and --model.init-scale 10 as SigLIP does"
            )
        if isinstance(self.loss, SoftmaxConfig) and self.model.init_bias is not None:
            raise ValueError(
                f"model.init_bias {self.model.init_bias:g} is of no use to the softmax loss: leave it out, "
                f"or give --loss.type sigmoid"
            )
        return self


class DalleRun(_Run):
    """Train a DALL-E on the tokens of an image tokenizer."""

    type: Literal["dalle"] = "dalle"
    image_tokenizer: Path = Field(default=Path("runs/fsq-shapes"), description="run of the image tokenizer")
    model: DalleConfig = DalleConfig()
    text_tokenizer: TextTokenizerConfig = TextTokenizerConfig()
    loss: DalleLossConfig = DalleLossConfig()
    sampling: SamplingConfig = Field(default=SamplingConfig(), description="how `generate` draws unless told otherwise")


Run = Annotated[TokenizerRun | ClipRun | DalleRun, Field(discriminator="type")]
