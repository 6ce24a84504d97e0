"""Memory in large pages: what a step reads lies far apart, and the processor knows where only so many pages are.

Where the system has no such pages to give (Linux has, if asked), it is ordinary memory.
"""

import contextlib
import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

PAGE = 2 << 20  # bytes
LINE = 64  # bytes: what is read at once
CHUNK = 16 * PAGE


def empty(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """As ``torch.empty``, on the CPU; what is smaller than a page comes from there."""
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes < PAGE:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(_pages(num_bytes), dtype=dtype, count=math.prod(shape)).view(*shape)


class Arena:
    """Copies of tensors side by side in a few large pieces; it has to live as long as they are read."""

    def __init__(self) -> None:
        self._room: mmap.mmap | None = None
        self._used = 0

    def copy(self, x: Tensor) -> Tensor:
        """The same numbers, contiguous, from the next cache line on."""
        num_bytes = x.numel() * x.element_size()
        if num_bytes == 0:
            return x.clone()
        if self._room is None or self._used + num_bytes > len(self._room):
            self._room, self._used = _pages(max(num_bytes, CHUNK)), 0
        place = torch.frombuffer(self._room, dtype=x.dtype, count=x.numel(), offset=self._used).view(x.shape)
        self._used += -(-num_bytes // LINE) * LINE
        return place.copy_(x)


def _pages(num_bytes: int) -> mmap.mmap:
    pages = mmap.mmap(-1, -(-num_bytes // PAGE) * PAGE)
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is not None:
        with contextlib.suppress(OSError):  # a kernel that was built without them
            pages.madvise(advice)
    return pages
