"""What an evaluation task is: models and data in, named numbers out."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from PIL import Image

from calligram.clip.zero_shot import ClipPipeline
from calligram.dalle.draw import DallePipeline
from calligram.data.manifest import Manifest
from calligram.eval.config import EvalConfig
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


def has_classes(data: Manifest, config: EvalConfig) -> bool:
    """Whether there is something to classify: a split to read, and names to choose among."""
    return config.split in data.splits and len(data.class_names) > 1
