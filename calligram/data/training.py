"""One sample of a training: read, decoded, augmented, a caption chosen; another one where it is bad.

# N image tokens
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import Dataset

from calligram.data.bad import BadSample, Replaced
from calligram.data.dataset import Record, Shards, choose_caption
from calligram.data.draws import Draws
from calligram.data.native import Native
from calligram.data.permute import mix
from calligram.data.place import Place
from calligram.data.plan import BLOCK, SampleRef
from calligram.data.tokens import Tokens
from calligram.data.transforms import AugmentConfig, train_square
from calligram.errors import UserError

MAX_TRIES = 100  # samples of a shard that may be bad before it is given up


class DataConfig(BaseModel):
    """Where training data lies and how it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shards: Place = Field(
        default=Path("shards/shapes"), description="folder that `calligram data make` wrote, or its URL"
    )
    split: str = Field(default="train", description="split to train on")
    mix: tuple[Place, ...] = Field(default=(), description="further data sets to mix in, the same split of each")
    weights: tuple[float, ...] = Field(
        default=(), description="share of each data set, --data.shards first; by number of samples where left out"
    )
    captions: Literal["any", "first"] = Field(default="any", description="which of a picture's captions to read")
    augment: AugmentConfig = AugmentConfig()
    num_workers: int = Field(default=1, ge=0, description="processes that read and decode; 0: in the training process")
    lanes: int = Field(
        default=0,
        ge=0,
        description="streams that a batch is made of; the number of processes divides it; 0: as many as divide the "
        "batch, 64 at most",
    )
    shuffle_shards: int = Field(default=BLOCK, ge=1, description="shards of a lane whose samples are shuffled together")
    fetch_ahead: int = Field(
        default=16, ge=0, description="shards from elsewhere that each process fetches before they are needed"
    )
    max_bad: float = Field(
        default=0.01, ge=0, le=1, description="share of bad samples that ends a training, of 10,000 samples at least"
    )
    max_bad_in_a_row: int = Field(default=100, ge=1, description="bad samples in a row that end a training")


class Failed(NamedTuple):
    """What a worker sends instead of samples: an exception would reach a person as a page of traceback."""

    message: str


class TrainingSet(Dataset):
    """The data of a training by :class:`SampleRef`: dicts with "image" or "image_tokens", and "caption".

    Pictures are squares, or with ``native`` of their own aspect ratio; with ``words_only`` none is read. With
    ``negatives``, there is "negative", too: the caption that resembles the one read and is false. "replaced" says what
    was wrong with the sample that was planned, and is None where nothing was.
    """

    def __init__(
        self,
        config: DataConfig,
        image_size: int,
        tokens: Sequence[Tokens] = (),
        negatives: bool = False,
        native: Native | None = None,
        words_only: bool = False,
    ):
        self.config, self.image_size, self.tokens, self.negatives = config, image_size, tokens, negatives
        self.native, self.words_only = native, words_only
        self.sources = open_sources(config)
        self.seed = 0
        if negatives:  # data without any are refused before training begins
            for shards in self.sources:
                self._negative(shards[0], 0)

    def __getitem__(self, ref: SampleRef) -> dict[str, Any]:
        replaced = None
        row, count = ref.row, int(self.sources[ref.source].counts[ref.shard])
        for attempt in range(MAX_TRIES):
            try:
                return self._read(ref._replace(row=row)) | {"replaced": replaced}
            except BadSample as error:
                replaced = replaced or Replaced(error.reason, str(error))
                # a row of the same shard, drawn by the sample's place in the training and so the same on every day
                row = mix(ref.position, attempt) % count
        raise UserError(f"{replaced.message if replaced else ''}; {MAX_TRIES} more samples of that shard are bad, too")

    def __getitems__(self, refs: list[SampleRef]) -> list[dict[str, Any]] | list[Failed]:
        try:
            return [self[ref] for ref in refs]
        except UserError as error:
            return [Failed(str(error))]

    def _read(self, ref: SampleRef) -> dict[str, Any]:
        draws = Draws(self.seed, ref.position)
        shards = self.sources[ref.source]
        if self.tokens or self.words_only:
            captions = shards.read_words(ref.shard, ref.row)[0]
            sample: dict[str, Any] = {"caption": captions[choose_caption(captions, self.config.captions, draws)]}
            if self.tokens:
                tokens = self.tokens[ref.source].read(ref.shard, ref.row)
                sample["image_tokens"] = torch.from_numpy(tokens.astype(np.int64))
            return sample
        record = shards.record(ref.shard, ref.row)
        number = choose_caption(record.captions, self.config.captions, draws)
        sample = {"caption": record.captions[number], "image": record.decode(lambda data: self._picture(data, draws))}
        if self.negatives:
            sample["negative"] = self._negative(record, number)
        return sample

    def _picture(self, data: bytes, draws: Draws) -> Tensor:
        if self.native is not None:
            return self.native.read(data, self.config.augment, draws)
        return train_square(data, self.image_size, self.config.augment, draws)

    def _negative(self, record: Record, number: int) -> str:
        if len(record.negatives) != len(record.captions):
            raise UserError(
                f"sample {record.key} of {record.tar} has {len(record.negatives)} negatives for "
                f"{len(record.captions)} captions: make the data again, or train with --no-hard-negatives"
            )
        return record.negatives[number]


def open_sources(config: DataConfig) -> list[Shards]:
    """All data sets of a training, ``config.shards`` first."""
    folders = (config.shards, *config.mix)
    if config.weights and len(config.weights) != len(folders):
        raise UserError(f"{len(config.weights)} weights for {len(folders)} data sets: give one for each")
    return [Shards(folder, config.split) for folder in folders]
