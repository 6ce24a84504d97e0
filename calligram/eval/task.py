"""What an evaluation task is: models and data in, named numbers out."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from calligram.clip.zero_shot import ClipPipeline
from calligram.dalle.draw import DallePipeline
from calligram.data.manifest import Manifest
from calligram.eval.estimate import Estimate
from calligram.eval.space import Space
from calligram.tokenizers.image import ImageTokenizer

Kind = Literal["clip", "tokenizer", "dalle", "space"]
Value = float | Estimate | Image.Image  # a picture goes into the report


@dataclass(frozen=True)
class Models:
    """The models under evaluation, one of each kind at most. CLIP also picks the best of what DALL-E draws.

    Distances between sets of pictures are measured in the space.
    """

    clip: ClipPipeline | None = None
    tokenizer: ImageTokenizer | None = None
    dalle: DallePipeline | None = None
    space: Space | None = None

    def has(self, kinds: tuple[Kind, ...]) -> bool:
        return all(getattr(self, kind) is not None for kind in kinds)


class EvalConfig(BaseModel):
    """How much to evaluate on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str = Field(default="test", description="split to evaluate on")
    holdout_split: str = Field(default="holdout", description="split of held-out combinations, where the data has one")
    max_samples: int = Field(default=10_000, ge=1, description="pictures of a split at most, for tasks that read")
    max_train_samples: int = Field(
        default=10_000, ge=2, description="pictures of the split train at most, for tasks that learn from features"
    )
    max_probe_classes: int = Field(
        default=100, ge=2, description="classes at most that a probe learns, the most frequent ones: its time grows so"
    )
    num_draws: int = Field(default=3, ge=1, description="draws of the few pictures a class that few-shot learns from")
    num_corrupted: int = Field(default=300, ge=1, description="pictures to damage in each of 21 ways")
    num_captions: int = Field(
        default=300, ge=3, description="captions to draw, or pictures, for tasks that take long for each"
    )
    num_drawings: int = Field(
        default=500, ge=2, description="captions to draw once each, for tasks that compare sets of pictures"
    )
    num_reference: int = Field(
        default=2000, ge=4, description="real pictures of the split at most that such a set is compared with"
    )
    num_variants: int = Field(default=8, ge=2, description="drawings of one caption, to see how much they differ")
    num_neighbours: int = Field(
        default=5000, ge=1, description="training pictures at most among which those nearest to drawings are looked for"
    )
    num_probe_pictures: int = Field(
        default=1000, ge=10, description="training pictures at most for the classifier on the decoder's features"
    )
    train_split: str = Field(default="train", description="split that the models were trained on")
    lpips: str | None = Field(
        default=None, description="file of torchvision's VGG-16 weights, for the perceptual distance of reconstructions"
    )
    num_candidates: int = Field(default=16, ge=1, description="pictures drawn of each caption, of which CLIP picks one")
    seed: int = Field(default=0, ge=0, description="of the drawings")


class EvalTask:
    """One evaluation. A new one is one file in ``eval/tasks/`` with one subclass; it is found by its name."""

    name: ClassVar[str]
    needs: ClassVar[tuple[Kind, ...]]
    version: ClassVar[int] = 1  # one more whenever its figures come out otherwise: kept ones are then measured anew
    reads: ClassVar[tuple[str, ...] | None] = None  # the fields of EvalConfig that it depends on; None: all

    def takes(self) -> tuple[Kind, ...]:
        """The models that it is handed: those it needs, and to judge drawings the CLIP that picks among them."""
        return (*self.needs, "clip") if "dalle" in self.needs and "clip" not in self.needs else self.needs

    def narrowed(self, whole: EvalConfig) -> EvalConfig:
        """What it is handed of the config: fields that it does not depend on stand at their defaults."""
        return whole if self.reads is None else EvalConfig(**{name: getattr(whole, name) for name in self.reads})

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        """Whether this data set has what the task reads."""
        return config.split in data.splits

    @abstractmethod
    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        """Yields ("clip.zero_shot.top1", mean(hits_B))-like pairs: dotted name, value; none where nothing is to ask.

        What is measured on samples is an :class:`Estimate`, so that it carries its interval; a bare number is exact.
        """
