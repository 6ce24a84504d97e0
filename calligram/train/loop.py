"""The loop that trains every model here: next batch, loss, clip, step, then the hooks that are due."""

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch
from torch import Tensor, nn

from calligram import runs
from calligram.errors import UserError
from calligram.progress import Progress
from calligram.train import checkpoint, distributed
from calligram.train.config import TrainConfig
from calligram.train.optimizer import build_optimizer, learning_rate

log = logging.getLogger(__name__)
Batch = dict[str, Tensor]


class Batches(Protocol):
    """What a training reads: iterating over it gives the batches from where it stands, to the last."""

    def __iter__(self) -> Iterator[Batch]: ...

    def facts(self) -> dict[str, float]:
        """What else belongs in a row of metrics; called by every process at the same steps."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def train(task: nn.Module, batches: Batches, config: TrainConfig, run: Path, device: torch.device) -> None:
    """Train ``task.model`` up to ``config.steps``, going on from the newest checkpoint in ``run``.

    ``task(batch)`` returns (loss, metrics), tensors all; ``task.after_step()`` is called where there is one.
    ``batches`` ends with the last step; its state is saved and restored with the weights.
    """
    task.to(device).train()
    model = task.get_submodule("model")
    optimizer = build_optimizer(model, config)
    first_step = checkpoint.restore(run, model, optimizer, batches)
    forward = distributed.wrap(task)
    after_step = getattr(task, "after_step", lambda: None)
    autocast = autocast_for(config.precision, device)
    with Metrics(run, config, first_step, batches.facts) as metrics:
        for step, batch in enumerate(batches, start=first_step):
            distributed.seed_step(config.seed, step)
            batch = {name: x.to(device, non_blocking=True) for name, x in batch.items()}
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            with autocast:
                loss, values = forward(batch)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            after_step()
            done = step + 1
            metrics.update(done, {"loss": loss.detach(), "grad_norm": norm, **values}, optimizer.param_groups[0]["lr"])
            if (done % config.save_every == 0 or done == config.steps) and distributed.is_main():
                checkpoint.save(run, done, model, optimizer, config.keep_last, batches)
    distributed.barrier()


def autocast_for(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """The numeric format of the forward pass."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    if precision == "fp32":
        return contextlib.nullcontext()
    if device.type == "cpu" and not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        # measured on an AVX2 machine: a 1024-cubed product takes 125 times as long as in fp32
        log.warning("this CPU has no bf16 instructions, and bf16 is far slower than --train.precision fp32 on it")
    return torch.autocast(device.type, torch.bfloat16)


class Metrics:
    """Averages what the task reports and shows it: progress bar, ``metrics.jsonl``, TensorBoard."""

    def __init__(self, run: Path, config: TrainConfig, first_step: int, facts: Callable[[], dict[str, float]] = dict):
        self.run, self.config, self.facts = run, config, facts
        self.main = distributed.is_main()
        self.progress = Progress(f"train {run.name}", config.steps, start=first_step, enabled=self.main)
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.since = time.monotonic()

    def __enter__(self) -> "Metrics":
        if self.main:
            from torch.utils.tensorboard import SummaryWriter

            self.run.mkdir(parents=True, exist_ok=True)
            self.file = _open_for_rows(self.run / runs.METRICS)
            self.board = SummaryWriter(str(self.run), purge_step=self.progress.start)
        self.progress.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.progress.__exit__(*error)
        if self.main:
            self.file.close()
            self.board.close()

    def update(self, step: int, values: dict[str, Tensor], lr: float) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.count += 1
        # also before weights are saved, so that no checkpoint has any that are not numbers
        due = step % self.config.log_every == 0 or step % self.config.save_every == 0 or step == self.config.steps
        self.progress.advance(**(self._flush(step, lr) if due else {}))

    def _flush(self, step: int, lr: float) -> dict[str, float]:
        row = {name: float(distributed.mean(total / self.count)) for name, total in self.sums.items()}
        rate = self.count * self.config.batch_size / max(1e-9, time.monotonic() - self.since)
        row |= {"lr": lr, "samples_per_s": rate, **self.facts()}
        for name, value in (("loss", row["loss"]), ("norm of the gradient", row["grad_norm"])):
            if not math.isfinite(value):
                raise UserError(f"the {name} is {value} at step {step}: try a lower --train.lr than {self.config.lr}")
        if self.main:
            self.file.write(json.dumps({"step": step, **row}) + "\n")
            self.file.flush()
            for name, value in row.items():
                self.board.add_scalar(name, value, step)
        self.sums, self.count, self.since = {}, 0, time.monotonic()
        return {"loss": row["loss"], "samples_per_s": rate}


def _open_for_rows(path: Path) -> TextIO:
    """Append to a file of rows, on a line of one's own even where a killed run left half a row."""
    written = path.read_bytes() if path.is_file() else b""
    file = path.open("a", encoding="utf-8")
    if written and not written.endswith(b"\n"):
        file.write("\n")
    return file
