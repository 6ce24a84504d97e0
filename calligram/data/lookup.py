"""Find the entry of a sample, with a clear word where there is none."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from calligram.errors import UserError

Entry = TypeVar("Entry")


def look_up(entries: Mapping[str, Sequence[Entry]], split: str, index: int) -> Entry:
    """``entries[split][index]``; UserError where the split or the index does not exist (-1 does not)."""
    if split not in entries:
        raise UserError(f"no split {split!r}: choose one of {', '.join(entries)}")
    size = len(entries[split])
    if not 0 <= index < size:
        raise UserError(f"no sample {index} in the split {split!r} of {size}: give 0 to {size - 1}")
    return entries[split][index]
