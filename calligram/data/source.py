"""What a named source of captioned pictures has to offer: ``calligram data make NAME``."""

from abc import abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from calligram.data.sample import Sample


class Source(BaseModel):
    """A source is its own configuration: every field becomes a flag of ``calligram data make``.

    Samples are a pure function of (config, split, index), so that shards can be written by several
    processes and come out the same. A new source is one file in ``data/sources/`` with one subclass;
    it is discovered by its ``name``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=())

    name: ClassVar[str]
    licence: ClassVar[str]

    @abstractmethod
    def splits(self) -> dict[str, int]:
        """Name of each split → number of samples in it. Raises UserError where input is missing."""

    @abstractmethod
    def sample(self, split: str, index: int) -> Sample:
        """The ``index``-th sample of a split."""

    def class_names(self) -> list[str]:
        """Words for the classes, in the order of ``meta["class"]``; empty where there are no classes."""
        return []

    def templates(self) -> list[str]:
        """Sentences with ``{}`` for a class name, to classify with; ``["{}"]`` where nothing is better."""
        return ["{}"]
