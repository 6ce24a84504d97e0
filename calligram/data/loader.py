"""Batches for training: read, decode, augment, tokenize the text, stack.

# B samples of this process, T text tokens, N image tokens
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from calligram.data.dataset import Record, Shards, choose_caption
from calligram.data.plan import Plan, PlanSampler, SampleRef
from calligram.data.transforms import AugmentConfig, train_transform
from calligram.errors import UserError

TextToIds = Callable[[list[str]], Tensor]
TEXTS = {"caption": "text", "negative": "negative_text"}  # in a sample → its ids in a batch


class DataConfig(BaseModel):
    """Where training data lies and how it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shards: Path = Field(default=Path("shards/shapes"), description="folder that `calligram data make` wrote")
    split: str = Field(default="train", description="split to train on")
    captions: Literal["any", "first"] = Field(default="any", description="which of a picture's captions to read")
    augment: AugmentConfig = AugmentConfig()
    num_workers: int = Field(default=1, ge=0, description="processes that read and decode; 0: in the training process")


class TrainingSet(Dataset):
    """One split as training reads it: dicts with "image" or "image_tokens", and "caption".

    With ``negatives``, there is "negative", too: the caption that resembles the one read and is false.
    """

    def __init__(self, config: DataConfig, image_size: int, tokens: np.ndarray | None = None, negatives: bool = False):
        self.config, self.image_size, self.tokens, self.negatives = config, image_size, tokens, negatives
        self.shards = Shards(config.shards, config.split)
        if negatives:
            self._negative(self.shards[0], 0)  # data without any are refused before training begins

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, ref: SampleRef) -> dict[str, Tensor | str]:
        rng = np.random.default_rng(ref.seed)
        if self.tokens is not None:
            captions = self.shards.read_captions(ref.index)
            caption = captions[choose_caption(captions, self.config.captions, rng)]
            return {"caption": caption, "image_tokens": torch.from_numpy(self.tokens[ref.index].astype(np.int64))}
        record = self.shards[ref.index]
        number = choose_caption(record.captions, self.config.captions, rng)
        image = train_transform(record.image(), self.image_size, self.config.augment, rng)
        sample = {"caption": record.captions[number], "image": image}
        if self.negatives:
            sample["negative"] = self._negative(record, number)
        return sample

    def _negative(self, record: Record, number: int) -> str:
        if len(record.negatives) != len(record.captions):
            raise UserError(
                f"sample {record.key} of {self.config.shards} has {len(record.negatives)} negatives for "
                f"{len(record.captions)} captions: make the data again, or train without hard_negatives"
            )
        return record.negatives[number]


class Collate:
    """Stack samples; captions become "text" ids, and negatives "negative_text", where a text tokenizer is given."""

    def __init__(self, text_to_ids: TextToIds | None):
        self.text_to_ids = text_to_ids

    def __call__(self, samples: list[dict]) -> dict[str, Tensor]:
        batch = {k: torch.stack([s[k] for s in samples]) for k in samples[0] if k not in TEXTS}
        if self.text_to_ids is not None:
            for key in TEXTS.keys() & samples[0].keys():
                batch[TEXTS[key]] = self.text_to_ids([s[key] for s in samples])
        return batch


def build_loader(
    dataset: TrainingSet,
    batch_size: int,
    seed: int,
    text_to_ids: TextToIds | None,
    rank: int = 0,
    world_size: int = 1,
) -> Callable[[int, int], DataLoader]:
    """A function (first step, last step) → DataLoader over exactly the batches of those steps."""
    plan = Plan(len(dataset), batch_size, seed)
    workers = dataset.config.num_workers

    def load(first_step: int, last_step: int) -> DataLoader:
        sampler = PlanSampler(plan, first_step, last_step, rank, world_size)
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=Collate(text_to_ids),
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=4 if workers else None,
        )

    return load
