"""A model in pieces over processes, by PyTorch's FSDP2 (arXiv 2304.11277), and its checkpoints in pieces.

The pieces are stored as safetensors, not in the format that torch.distributed.checkpoint has by default, whose
metadata are a pickle. They are put together again on any number of processes.
"""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

BLOCKS = "blocks"  # what our Transformers call their layers


def blocks_of(task: nn.Module) -> list[nn.Module]:
    """The layers of every Transformer in a task."""
    return [block for module in task.modules() for block in getattr(module, BLOCKS, ())]


def shard(task: nn.Module) -> nn.Module:
    """Cut the parameters of a task up: every block by itself, so that one at a time is whole, then all the rest."""
    for block in blocks_of(task):
        fully_shard(block)
    # a single number cannot be cut: it stays whole everywhere, and its gradient is averaged by hand
    single = {p for p in task.parameters() if p.ndim == 0}
    fully_shard(task, ignored_params=single)
    for p in single:
        p.register_post_accumulate_grad_hook(_average_gradient)
    _Saving.group = dist.new_group(backend="gloo", timeout=timedelta(hours=12))
    return task


def _average_gradient(p: Tensor) -> None:
    if p.grad is not None:
        dist.all_reduce(p.grad)
        p.grad /= dist.get_world_size()


def is_sharded(model: nn.Module) -> bool:
    return any(isinstance(p, DTensor) for p in model.parameters())


@contextmanager
def whole(task: nn.Module) -> Iterator[None]:
    """Within it every process has all of a model, whose parts can then be called one by one, not only as a task."""
    parts = [module for module in task.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.unshard()
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def full(x: Tensor) -> Tensor:
    """The whole of a tensor; every process has to ask."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def assign(target: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor into one that may be in pieces; every process has the whole."""
    with torch.no_grad():
        whole = whole.to(target.device)
        if isinstance(target, DTensor):
            whole = distribute_tensor(whole, target.device_mesh, target.placements)
        target.copy_(whole)


def clip_grad_norm(parameters: list[nn.Parameter], max_norm: float) -> Tensor:
    """As torch's, for gradients of which some are in pieces: the norm of all of them, which then is at most so much."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not any(isinstance(g, DTensor) for g in gradients):
        return nn.utils.clip_grad_norm_(parameters, max_norm)
    pieces = [g.to_local() for g in gradients if isinstance(g, DTensor)]
    wholes = [g for g in gradients if not isinstance(g, DTensor)]
    total = torch.stack([piece.double().square().sum() for piece in pieces]).sum()
    dist.all_reduce(total)
    norm = (total + sum(whole.double().square().sum() for whole in wholes)).sqrt().to(pieces[0].dtype)
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in (*pieces, *wholes):
        gradient.mul_(scale)
    return norm


def save(tensors: dict[str, Tensor], folder: Path) -> Callable[[], None]:
    """Every process copies its pieces, and writes them while others are at work.

    What is returned waits for that, in the main process for the pieces of all, and raises OSError.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    written = state_dict_saver.async_save(
        cast(dict, tensors), storage_writer=writer, process_group=_Saving.group or dist.group.WORLD
    )
    assert isinstance(written, Future)

    def wait() -> None:
        try:
            written.result()
        except CheckpointException as error:
            raise OSError(" ".join(str(next(iter(error.failures.values()))[0]).split())) from None

    return wait


class _Saving:
    """The processes once more, for what they tell each other of a checkpoint while they train."""

    group: Any = None


def load(tensors: dict[str, Tensor], folder: Path) -> None:
    """Fill tensors, whole or in pieces, from pieces of any number of processes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        state_dict_loader.load(
            cast(dict, tensors),
            storage_reader=HuggingFaceStorageReader(str(folder)),
            no_dist=not dist.is_initialized(),
        )


def contents(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """The whole shape and the type of what lies in pieces in a folder."""
    found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    tensors = {name: entry for name, entry in found.items() if isinstance(entry, TensorStorageMetadata)}
    return {name: (entry.size, entry.properties.dtype) for name, entry in tensors.items()}
