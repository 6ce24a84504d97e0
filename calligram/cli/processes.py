"""Several processes that share a verb's work: ``torchrun --nproc-per-node 2 -m calligram classify ...``.

All of them walk the same words; each takes its share of the pictures, and all get to know all results, so that they
agree on what to do next. Only the first one prints and writes.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from calligram.cli.decoding import chunks
from calligram.cli.results import Result, pack, unpack

if TYPE_CHECKING:
    from calligram.clip.classifier import Spread

RESULTS_AT_ONCE = 64  # of a process, before they are brought together


def _alone(data: bytes) -> list[bytes]:
    return [data]


@dataclass(frozen=True)
class Processes:
    """This process among those that share the work; alone by default."""

    rank: int = 0
    size: int = 1
    gather_bytes: Callable[[bytes], list[bytes]] = field(default=_alone, repr=False)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def spread(self) -> "Spread":
        """How the classifier shares its prompts, and an evaluation its pictures."""
        from calligram.clip.classifier import ALONE, Spread

        if self.size == 1:
            return ALONE
        from calligram.train import distributed

        return Spread(self.rank, self.size, distributed.gather)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """What may have to be fetched is fetched by one of them."""
        if not self.is_main:
            self.gather_bytes(b"")
        yield
        if self.is_main:
            self.gather_bytes(b"")

    def stdin_lines(self) -> Iterable[str]:
        """The lines of stdin, which all processes have in common, so that only one may read it."""
        if self.size == 1:
            return sys.stdin
        read = sys.stdin.read() if self.is_main else ""
        lines = self.gather_bytes(read.encode(errors="surrogateescape"))[0]
        return lines.decode(errors="surrogateescape").splitlines()

    def merge(self, results: Iterable[Result]) -> Iterator[Result]:
        """The results of all, in the order of the input, of which each process has every so-many-th."""
        if self.size == 1:
            yield from results
            return
        own, number = chunks(results, RESULTS_AT_ONCE), RESULTS_AT_ONCE
        while number == RESULTS_AT_ONCE:
            parts = [unpack(data) for data in self.gather_bytes(pack(next(own, [])))]
            yield from (result for result in chain.from_iterable(zip_longest(*parts)) if result is not None)
            number = len(parts[0])  # the first process has never less than another


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that ``torchrun`` started, or this one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    from calligram.progress import hidden
    from calligram.train import distributed

    with distributed.started():
        found = Processes(distributed.rank(), distributed.world_size(), distributed.gather_bytes)
        with contextlib.nullcontext() if found.is_main else hidden():
            yield found
