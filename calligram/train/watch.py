"""Looks at a model while it is trained: what it can do, in numbers and pictures, on a schedule."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import nn

from calligram import progress
from calligram.train import distributed, sharding
from calligram.train.ema import Ema
from calligram.train.frozen import rest


@dataclass(frozen=True)
class Findings:
    """What a look has found, by name."""

    numbers: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, Image.Image] = field(default_factory=dict)


@dataclass(frozen=True)
class Watch:
    """Calls ``look`` every so many steps and after the last; never where ``every`` is 0."""

    every: int = 0
    look: Callable[[], Findings] = Findings

    def is_due(self, done: int, last: int) -> bool:
        return self.every > 0 and (done % self.every == 0 or done == last)

    def at(self, task: nn.Module, ema: Ema | None) -> Findings:
        """Look at the model as others will load it: with its average for weights where it has one.

        Every process calls it. One looks, but at a model in pieces all do, since none has the whole. Training goes on
        as if nobody had looked: weights, modes and random numbers are as they were.
        """
        findings = Findings()
        if distributed.is_main() or sharding.is_sharded(task):
            with _at_rest(task, ema), progress.hidden():
                findings = self.look()
        distributed.barrier()
        return findings


@contextmanager
def _at_rest(task: nn.Module, ema: Ema | None) -> Iterator[None]:
    devices = {p.device for p in task.parameters() if p.device.type == "cuda"}
    averaged = ema.applied() if ema is not None else nullcontext()
    # averages first: they are in pieces where the model is
    with torch.random.fork_rng(devices), averaged, sharding.whole(task):
        try:
            task.eval()
            yield
        finally:
            rest(task.train())
