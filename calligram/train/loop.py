"""The loop that trains every model here: next batch, loss, clip, step, then what is due."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from calligram.errors import Interrupted
from calligram.train import checkpoint, distributed
from calligram.train.backward import Backward, Batch
from calligram.train.checkpoint import Keep, Writer
from calligram.train.config import TrainConfig
from calligram.train.ema import Ema
from calligram.train.frozen import rest
from calligram.train.guard import Guard
from calligram.train.interrupt import Interrupt
from calligram.train.metrics import Metrics
from calligram.train.optimizer import build_optimizer, set_learning_rate
from calligram.train.recompute import recompute_blocks
from calligram.train.schedule import learning_rate
from calligram.train.sharding import clip_grad_norm
from calligram.train.state import TrainingState
from calligram.train.watch import Findings, Watch


class Batches(Protocol):
    """What a training reads: iterating over it gives the batches from where it stands, to the last."""

    def __iter__(self) -> Iterator[Batch]: ...

    def facts(self) -> dict[str, float]:
        """What else belongs in a row of metrics; called by every process at the same steps."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def train(
    task: nn.Module, batches: Batches, config: TrainConfig, run: Path, device: torch.device, watch: Watch | None = None
) -> None:
    """Train ``task.model`` up to ``config.steps``, going on from the newest checkpoint in ``run``.

    ``task(batch)`` returns (loss, metrics), tensors all; ``task.at_step(step)`` and ``task.after_step()`` are called
    before and after a step where there are such. ``task.companion``, where there is one, is trained and saved, too.
    ``batches`` ends with the last step; its state is saved and restored with the weights. Raises Interrupted, once all
    is saved, where the process was sent SIGTERM or SIGUSR1. ``watch`` looks at the model now and then.
    """
    model = task.to(device).get_submodule("model")
    companion: nn.Module | None = getattr(task, "companion", None)
    rest(task.train())
    if config.recompute:
        recompute_blocks(task)
    if config.compile:
        task.compile()
    backward = Backward(task, config, device)
    optimizer = build_optimizer(model, config, companion)
    ema = Ema(model, config.ema_decay) if config.ema_decay else None
    guard = Guard(model, config.max_skipped)
    state = TrainingState(model, optimizer, ema, batches, guard, backward.scaler, companion)
    first_step = checkpoint.restore(run, state)
    at_step = getattr(task, "at_step", lambda step: None)
    after_step = getattr(task, "after_step", lambda: None)
    interrupt, writer = Interrupt(), Writer(run, Keep(config.keep_last, config.keep_every))
    watch = watch or Watch()
    metrics = Metrics(run, config, first_step, lambda: batches.facts() | guard.facts())

    with interrupt.listening(), writer.finishing(), metrics:
        for step, batch in enumerate(metrics.waiting(batches), start=first_step):
            distributed.seed_step(config.seed, step)
            lr = set_learning_rate(optimizer, learning_rate(step, config))
            at_step(step)
            guard.remember()
            values = backward(batch)
            backward.scaler.unscale_(optimizer)
            norms = [clip_grad_norm([*part.parameters()], config.grad_clip) for part in (model, companion) if part]
            taken = guard.allows(torch.stack(norms).sum(), step + 1, config.lr)
            if taken:
                backward.scaler.step(optimizer)
                after_step()
                if ema is not None:
                    ema.update()
            backward.scaler.update()
            optimizer.zero_grad(set_to_none=True)

            done = step + 1
            stop = interrupt.is_due()
            save = stop or done % config.save_every == 0 or done == config.steps
            look = watch.is_due(done, config.steps) and not stop  # whoever told us to go does not wait for it
            with metrics.paused() if look else nullcontext():
                findings = watch.at(backward.parallel, ema) if look else Findings()
            metrics.update(done, {**values, "grad_norm": norms[0]} if taken else None, lr, findings, flush=save or look)
            if save:
                writer.save(done, state)
            if stop and done < config.steps:
                writer.wait()
                distributed.barrier()
                raise Interrupted(f"interrupted after step {done} of {config.steps}, which is saved in {run}")
    distributed.barrier()
