"""Everything that touches ``torch.distributed``, but for models in pieces: each function does nothing when alone.

``torchrun --nproc-per-node 8 -m calligram train PRESET`` sets the environment that :func:`started` reads.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from calligram.train import sharding


@contextmanager
def started() -> Iterator[torch.device]:
    """Join the job that ``torchrun`` describes, if any; yields the device of this process."""
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else None
    if device is not None:
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("gloo" if device is None else "nccl")
        _Patient.group = dist.new_group(backend="gloo", timeout=timedelta(hours=12))
    try:
        yield device or torch.device("cpu")
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


class _Patient:
    """The processes once more, for waits on what one of them prepares; in training a hang should still be seen."""

    group: Any = None


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """True in the one process that writes."""
    return rank() == 0


def seed_step(seed: int, step: int) -> None:
    """Make dropout a pure function of (seed, step, rank): exact after a resume, different between processes."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank())).generate_state(1)[0]))


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier(_Patient.group)


def wrap(task: nn.Module, parallel: str = "ddp") -> nn.Module:
    """The task with gradients averaged over processes, a copy in each of them, or with "fsdp" in pieces."""
    if not dist.is_initialized():
        return task
    return sharding.shard(task) if parallel == "fsdp" else nn.parallel.DistributedDataParallel(task)


def reducing(module: nn.Module, now: bool) -> contextlib.AbstractContextManager:
    """Within it a backward pass averages gradients over processes, or leaves that to a later one."""
    if isinstance(module, nn.parallel.DistributedDataParallel) and not now:
        return module.no_sync()
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(now)
    return contextlib.nullcontext()


class Ring:
    """The processes in a circle, each of which hands tensors to the one after it."""

    @property
    def rank(self) -> int:
        return rank()

    @property
    def size(self) -> int:
        return world_size()

    def pass_on(self, tensors: tuple[Tensor, ...]) -> Callable[[], tuple[Tensor, ...]]:
        """Begin to send tensors to the next process; what is called waits for those of the process before.

        They have to have the same shapes and types everywhere, and to stay as they are until then.
        """
        if self.size == 1 or not tensors:
            return lambda: tensors
        sent = [x.contiguous() for x in tensors]
        arriving = tuple(torch.empty_like(x) for x in sent)
        after, before = (self.rank + 1) % self.size, (self.rank - 1) % self.size
        transfers = [dist.P2POp(dist.isend, x, after) for x in sent]
        transfers += [dist.P2POp(dist.irecv, x, before) for x in arriving]
        works = dist.batch_isend_irecv(transfers)

        def wait() -> tuple[Tensor, ...]:
            for work in works:
                work.wait()
            sent.clear()  # which had to live until now
            return arriving

        return wait


def agree(number: int) -> int:
    """The main process's number, in all of them."""
    return sum_up([number if is_main() else 0])[0]


def sum_up(counts: list[int]) -> list[int]:
    """Each number added up over processes."""
    if not dist.is_initialized():
        return counts
    total = torch.tensor(counts)
    dist.all_reduce(total, group=_Patient.group)
    return total.tolist()


def mean(x: Tensor) -> Tensor:
    """Average of a number over processes."""
    if dist.is_initialized():
        x = x.clone()
        dist.all_reduce(x)
        x /= world_size()
    return x


def gather(x: Tensor) -> Tensor:
    """The rows of all processes, one behind the other in the order of their ranks; each has the same number."""
    if not dist.is_initialized():
        return x
    own = x.detach().cpu().contiguous()
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own, group=_Patient.group)  # a process may read for hours before it has its share
    return torch.cat(parts).to(x.device)


def gather_bytes(data: bytes) -> list[bytes]:
    """What each process has to tell, in the order of their ranks."""
    if not dist.is_initialized():
        return [data]
    lengths = gather(torch.tensor([len(data)])).tolist()
    padded = np.zeros(max(1, *lengths), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    rows = gather(torch.from_numpy(padded)[None]).numpy()
    return [rows[rank, :length].tobytes() for rank, length in enumerate(lengths)]
