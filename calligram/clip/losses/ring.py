"""Texts that travel from process to process, so that each sees all of them and none has to hold them all."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


class Ring(Protocol):
    """Processes in a circle, each of which hands tensors to the next; all of them call the same things in turn."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def pass_on(self, tensors: Tensors) -> Callable[[], Tensors]:
        """Begin to send tensors to the next process; what is called waits for those of the process before."""
        ...


class Alone:
    """A ring of one."""

    rank, size = 0, 1

    def pass_on(self, tensors: Tensors) -> Callable[[], Tensors]:
        return lambda: tensors


ALONE = Alone()


def travel(ring: Ring, fixed: Tensors, carried: Tensors, visit: Callable[[Tensors, Tensors], None]) -> Tensors:
    """Call ``visit(fixed, carried)`` with what every process has, one's own first; return one's own ``carried``.

    ``visit`` changes ``carried`` in place, and it comes home with what all processes did to it. ``fixed`` stays as it
    is, and so is on its way to the next process while ``visit`` works. Shapes are the same in all processes.
    """
    for hop in range(ring.size):
        arriving = (ring if hop + 1 < ring.size else ALONE).pass_on(fixed)
        visit(fixed, carried)
        fixed = arriving()
        carried = ring.pass_on(carried)()
    return carried


def anywhere(ring: Ring, flag: bool, device: torch.device) -> bool:
    """Whether it is true in any process."""

    def add(_: Tensors, carried: Tensors) -> None:
        carried[0].add_(int(flag))

    (found,) = travel(ring, (), (torch.zeros((), dtype=torch.long, device=device),), add)
    return bool(found)
