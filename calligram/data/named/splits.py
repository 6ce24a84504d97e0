"""Which split is which: data sets of others call the one to test on as they like."""

from collections.abc import Sequence

from calligram.errors import UserError

TEST = "test"
TESTS = (TEST, "val", "validation", "valid", "dev", "eval")  # the first of these that is there is the test
TRAIN = "train"
MARK = "#"  # what follows it are splits: hf:OWNER/NAME#train+test


def cut(text: str) -> tuple[str, tuple[str, ...]]:
    """``URL#train+test`` → the URL and its splits, none where it says nothing about them."""
    where, _, wanted = text.partition(MARK)
    return where, tuple(filter(None, wanted.split("+")))


def choose(there: Sequence[str], wanted: Sequence[str], name: str) -> dict[str, str]:
    """Our name → theirs, of the wanted splits; of the one to test on where none are named.

    Raises UserError where one is not there.
    """
    for split in wanted:
        if split not in there:
            raise UserError(f"{name} has no split {split!r}; it has: {', '.join(there)}")
    named = rename([split for split in there if split in wanted] if wanted else there)
    if wanted:
        return named
    if TEST not in named:
        raise UserError(f"{name} has no split to test on; choose of {', '.join(there)}: {name}{MARK}{there[0]}")
    return {TEST: named[TEST]}


def rename(there: Sequence[str]) -> dict[str, str]:
    """Our name → theirs: ``test`` is theirs, or their validation, or the only one; others are called as they are."""
    test = next((split for split in TESTS if split in there), there[0] if len(there) == 1 else None)
    named = {split: split for split in there if split != test}
    return named | ({TEST: test} if test is not None else {})
