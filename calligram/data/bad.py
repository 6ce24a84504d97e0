"""Samples that cannot be used: what they are called, and how many of them a training puts up with."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from calligram.errors import UserError

CHECKSUM, PICTURE, PIXELS, TEXT, EMPTY = "checksum", "picture", "too many pixels", "text", "empty caption"
REASONS = (CHECKSUM, PICTURE, PIXELS, TEXT, EMPTY)
NAMED = 5  # samples that a report names one by one


class BadSample(UserError):
    """A sample that is damaged or makes no sense: training takes another in its place, all else stops."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class Replaced(NamedTuple):
    """A sample in whose place another one was delivered."""

    reason: str
    message: str


@dataclass
class Ledger:
    """Counts what was replaced, and says when it is too much.

    ``max_share`` is of ten thousand samples at least, so that the first batches of a run need not be flawless.
    """

    max_share: float = 0.01
    max_in_a_row: int = 100
    delivered: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    in_a_row: int = 0
    examples: list[Replaced] = field(default_factory=list)

    @property
    def replaced(self) -> int:
        return self.reasons.total()

    def add(self, batch: Iterable[Replaced | None]) -> None:
        """Enter the samples of a batch in their order: None for each that was delivered as planned."""
        for sample in batch:
            self.delivered += 1
            self.in_a_row = self.in_a_row + 1 if sample else 0
            if sample:
                self.reasons[sample.reason] += 1
                if len(self.examples) < NAMED:
                    self.examples.append(sample)
            if self.in_a_row >= self.max_in_a_row:
                raise UserError(f"{self.in_a_row} bad samples in a row: {self.report()}")
        self.check(self.replaced, self.delivered)

    def check(self, replaced: int, delivered: int) -> None:
        """Raise where a share of bad samples, perhaps that of all processes together, is beyond the budget."""
        if replaced > self.max_share * max(delivered, 10_000):
            raise UserError(
                f"{replaced:,} of {delivered:,} samples were bad, more than {self.max_share:.1%}: {self.report()}"
            )

    def report(self) -> str:
        """``12 x picture, 3 x checksum; the first: …``."""
        counts = ", ".join(f"{count} x {reason}" for reason, count in self.reasons.most_common())
        first = f"; the first: {self.examples[0].message}" if self.examples else ""
        return f"{counts or 'none'}{first}; `calligram data verify` names all of them"
