"""The training loop against a bare one by hand: python benchmarks/loop.py [--quick]

Both take the same steps of the same model on the same batches, in memory already, in fp32 with fused AdamW: forward,
backward, clipping of the gradient's norm, step. Ours does all else that it does in a training: seeds of each step,
schedule, the guard, metrics in a file and in TensorBoard every 20 steps, signals. "saving": what a step takes while a
checkpoint is written every 20 steps, against no checkpoints but the last.
"""

import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from harness import Row, run
from torch import Tensor, nn

from calligram.dalle.model import Dalle, DalleConfig
from calligram.dalle.task import DalleLossConfig, DalleTask
from calligram.nn.transformer import TransformerConfig
from calligram.train import loop
from calligram.train.config import TrainConfig

TEXT, GRID, VOCABULARY, BATCH = 16, 8, 512, 16
EVERY = 20


class Memory:
    """Batches that are there already."""

    def __init__(self, steps: int):
        generator = torch.Generator().manual_seed(0)
        text = torch.randint(3, 500, (BATCH, TEXT), generator=generator)
        tokens = torch.randint(0, VOCABULARY, (BATCH, GRID * GRID), generator=generator)
        self.batch, self.steps = {"text": text, "image_tokens": tokens}, steps

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for _ in range(self.steps):
            yield dict(self.batch)

    def facts(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        pass


def task() -> DalleTask:
    torch.manual_seed(0)
    transformer = TransformerConfig(width=128, num_layers=4, num_heads=4)
    model = Dalle(DalleConfig(text_length=TEXT, transformer=transformer), 500, VOCABULARY, GRID, end_id=2)
    return DalleTask(model, DalleLossConfig(drop_caption=0))


def ours(steps: int, save_every: int) -> float:
    """Seconds a step, from the first batch's start to the last step's end."""
    config = TrainConfig(steps=steps, batch_size=BATCH, log_every=EVERY, save_every=save_every, precision="fp32")
    with tempfile.TemporaryDirectory() as folder:
        clock = Clocked(steps)
        loop.train(task(), clock, config, Path(folder), torch.device("cpu"))
    return clock.seconds_a_step


class Clocked(Memory):
    """Notes when the second batch is asked for and when the last is done, so that starting up is left out."""

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        times = []
        for batch in super().__iter__():
            times.append(time.perf_counter())
            yield batch
        times.append(time.perf_counter())
        self.seconds_a_step = (times[-1] - times[1]) / (len(times) - 2)


def bare(steps: int) -> float:
    module = task().train()
    decays = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decays}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    start = 0.0
    for step, batch in enumerate(Memory(steps)):
        if step == 1:
            start = time.perf_counter()
        loss, _ = module(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return (time.perf_counter() - start) / (steps - 1)


def measure(quick: bool) -> Iterator[Row]:
    logging.disable(logging.WARNING)
    steps, repeats = (41, 3) if quick else (81, 9)
    bare(10), ours(10, 10)
    pairs, saving = [], []
    for turn in range(repeats):
        mine, theirs = (ours(steps, steps), bare(steps)) if turn % 2 else reversed((bare(steps), ours(steps, steps)))
        pairs.append((mine, theirs))
        saving.append((ours(steps, EVERY), mine))
    for case, peer, found in (("a step", "by hand", pairs), ("a step, saving", "not saving", saving)):
        yield Row(
            case=case,
            metric="ms",
            ours=1e3 * median(mine for mine, _ in found),
            peer=1e3 * median(theirs for _, theirs in found),
            peer_name=peer,
            ratio=median(theirs / mine for mine, theirs in found),
        )


if __name__ == "__main__":
    run("loop", measure, ("torch",))
