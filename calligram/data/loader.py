"""Batches for training: a plan of samples, worker processes that read them, and a place to go on from.

# B samples of this process, T text tokens, N image tokens
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from calligram.data.ahead import Ahead
from calligram.data.bad import REASONS, Ledger
from calligram.data.native import PICTURES, pack, unpack
from calligram.data.plan import Plan, PlanSampler, SampleRef, default_lanes
from calligram.data.training import Failed, TrainingSet
from calligram.errors import UserError

log = logging.getLogger(__name__)
TextToIds = Callable[[list[str]], Tensor]
NO_OTHERS: Mapping[str, TextToIds] = {}
TEXTS = {"caption": "text", "negative": "negative_text"}  # in a sample → its ids in a batch
VERSION = 2  # of the state, and of the order and the random numbers that it stands for
DECODER = "turbo-1"  # which pixels a picture's bytes become


class Collate:
    """Stack samples; captions become "text" ids, and negatives "negative_text", where a text tokenizer is given.

    ``others`` are further tokenizers of the captions, by the names of their ids in a batch. ``native`` pictures, of
    several sizes, are packed.
    """

    def __init__(
        self, text_to_ids: TextToIds | None, others: Mapping[str, TextToIds] = NO_OTHERS, native: bool = False
    ):
        self.text_to_ids, self.others, self.native = text_to_ids, others, native

    def __call__(self, samples: list[dict] | list[Failed]) -> dict[str, Any] | Failed:
        first = samples[0]
        if isinstance(first, Failed):
            return first
        samples = cast(list[dict[str, Any]], samples)
        batch: dict[str, Any] = {"replaced": [s["replaced"] for s in samples]}
        tensors = {k: [s[k] for s in samples] for k in first if isinstance(first[k], Tensor)}
        if self.native:
            batch |= pack(tensors.pop(PICTURES))
        batch |= {k: _stack(xs) for k, xs in tensors.items()}
        if self.text_to_ids is not None:
            for key in TEXTS.keys() & first.keys():
                batch[TEXTS[key]] = self.text_to_ids([s[key] for s in samples])
        return batch | {name: to_ids([s["caption"] for s in samples]) for name, to_ids in self.others.items()}


class Batches:
    """The batches of one process from step to step; iterate over it for those that are left.

    Its state is where it stands and what its order depends on: a few numbers, the same in every process and for any
    number of processes and workers. That is why there is no loader underneath that keeps the state of its workers.

    ``sum_over_processes`` adds up a list of numbers over all processes; left out, this process is alone. For
    ``text_to_ids`` and ``others`` see :class:`Collate`.
    """

    def __init__(
        self,
        dataset: TrainingSet,
        batch_size: int,
        num_steps: int,
        seed: int = 0,
        text_to_ids: TextToIds | None = None,
        rank: int = 0,
        world_size: int = 1,
        sum_over_processes: Callable[[list[int]], list[int]] = list,
        others: Mapping[str, TextToIds] = NO_OTHERS,
    ):
        config = dataset.config
        self.dataset, self.num_steps, self.rank, self.world_size = dataset, num_steps, rank, world_size
        self.sum_over_processes = sum_over_processes
        lanes = _lanes(batch_size, config.lanes, world_size)
        counts = tuple(tuple(shards.counts.tolist()) for shards in dataset.sources)
        weights = config.weights or tuple(float(sum(count)) for count in counts)
        self.plan = Plan(counts, batch_size, seed, weights, lanes, config.shuffle_shards)
        dataset.seed = seed
        self.collate = Collate(text_to_ids, others, dataset.native is not None)
        self.ledger = Ledger(config.max_bad, config.max_bad_in_a_row)
        self.step = 0
        self.totals = [0] * (1 + len(REASONS))  # delivered and bad samples of all processes, when last summed up
        self._before = self.totals  # ... and those of the run that this one goes on from

    def state_dict(self) -> dict[str, Any]:
        """Where to go on, and what must then be as it is now."""
        plan, config = self.plan, self.dataset.config
        return {
            "version": VERSION,
            "step": self.step,
            "seed": plan.seed,
            "batch_size": plan.batch_size,
            "lanes": plan.num_lanes,
            "shuffle_shards": plan.block,
            "weights": list(plan.weights),
            "data": [shards.manifest.digest(config.split) for shards in self.dataset.sources],
            "decoder": DECODER,
            "counts": self.totals,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where another loader stood. Raises UserError where the batches would not be those it would give."""
        for name, value in self.state_dict().items():
            if name not in ("step", "counts") and state_dict.get(name) != value:
                raise UserError(
                    f"cannot go on in the middle of this data: {name} was {state_dict.get(name)} and is {value}; "
                    f"restore it, or train into another folder"
                )
        self.step, self._before = int(state_dict["step"]), [int(count) for count in state_dict["counts"]]
        self.totals = self._before

    def __iter__(self) -> Iterator[dict[str, Any]]:
        workers = self.dataset.config.num_workers
        loader = DataLoader(
            self.dataset,
            batch_sampler=PlanSampler(self.plan, self.step, self.num_steps, self.rank, self.world_size),
            num_workers=workers,
            collate_fn=self.collate,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=4 if workers else None,
        )
        batches = iter(loader)  # the workers first: a process with threads is not one to fork
        with self._ahead().running():
            for batch in batches:
                if isinstance(batch, Failed):
                    raise UserError(batch.message)
                self.ledger.add(batch.pop("replaced"))
                self.step += 1  # what was handed out, not what a worker has ready
                yield unpack(batch)
        if self.ledger.replaced:
            log.warning(f"{self.ledger.replaced:,} of {self.ledger.delivered:,} samples: {self.ledger.report()}")

    def _ahead(self) -> Ahead:
        def plan(step: int) -> list[SampleRef]:
            return self.plan.batch(step, self.rank, self.world_size)

        return Ahead(self.dataset.sources, plan, lambda: self.step, self.num_steps, self.dataset.config.fetch_ahead)

    def facts(self) -> dict[str, float]:
        """For the metrics: epochs, and bad samples by reason over all processes. Every process has to call it.

        Raises UserError, in all of them, where the samples of all together are beyond the budget.
        """
        ledger = self.ledger
        since = self.sum_over_processes([ledger.delivered, *(ledger.reasons[reason] for reason in REASONS)])
        self.totals = [before + count for before, count in zip(self._before, since, strict=True)]
        delivered, *counts = self.totals
        ledger.check(sum(counts), delivered)
        bad = {f"bad_samples/{reason}": count for reason, count in zip(REASONS, counts, strict=True) if count}
        return {"epoch": self.plan.epoch(self.step), **bad}


def _stack(tensors: list[Tensor]) -> Tensor:
    """Equal to ``torch.stack``, in half the time where pictures still lie pixel by pixel, as decoders leave them."""
    stacked = torch.empty(len(tensors), *tensors[0].shape, dtype=tensors[0].dtype)
    np.stack([x.numpy() for x in tensors], out=stacked.numpy())
    return stacked


def _lanes(batch_size: int, wanted: int, world_size: int) -> int:
    if batch_size % world_size:
        raise UserError(f"batch_size {batch_size} is not divisible by the {world_size} processes")
    lanes = wanted or default_lanes(batch_size)
    if batch_size % lanes or lanes % world_size:
        fitting = [n for n in _divisors(batch_size) if n % world_size == 0]
        raise UserError(
            f"{lanes} lanes do not fit a batch of {batch_size} on {world_size} processes: set data.lanes to a number "
            f"that divides the batch and that the processes divide, say {min(fitting, key=lambda n: abs(n - lanes))}"
        )
    return lanes


def _divisors(number: int) -> Sequence[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
