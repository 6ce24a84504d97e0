"""What a person at the terminal reads besides results: chatter and errors, all on stderr."""

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from calligram.errors import UserError

if TYPE_CHECKING:
    from pydantic import ValidationError
    from rich.console import Console

STATUS_FAILED = 1
STATUS_BAD_INPUT = 2
LONGEST_VALUE = 60  # characters of a wrong value that are worth repeating


@functools.cache
def err_console() -> "Console":
    """rich's console on stderr, for tables and colour; ``say`` is enough for a line."""
    from rich.console import Console

    return Console(stderr=True)


def say(text: str) -> None:
    """A line of chatter: what happens now, where something was written. Of several processes the first one talks."""
    if os.environ.get("RANK", "0") == "0":
        _say_anyway(text)


def _say_anyway(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def counted(number: int, noun: str) -> str:
    """``1 shard``, ``2 shards``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def report(error: Exception) -> int:
    """Prints one line about an error and returns the exit status that belongs to it."""
    message = input_problem(error)
    if message is not None:
        _say_anyway(f"calligram: error: {_one_line(message)}")
        return STATUS_BAD_INPUT
    name = type(error).__name__
    details = _one_line(str(error))
    _say_anyway(f"calligram: failed: {name}{': ' if details else ''}{details} (--debug shows where)")
    return STATUS_FAILED


def input_problem(error: Exception) -> str | None:
    """What is wrong with what a person gave us; None where the fault is not in the input."""
    if isinstance(error, UserError):
        return str(error)
    from pydantic import ValidationError

    return describe_validation(error) if isinstance(error, ValidationError) else None


def describe_validation(error: "ValidationError", spell: Callable[[str], str] = str) -> str:
    """``optim.momentum 3.0: should be less than 1``: the field as ``spell`` spells it, its value, what is expected."""
    problems = error.errors(include_url=False)
    first = problems[0]
    # a validator's own sentence; it names the value itself
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        message = "there is no such field"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if not field:
        return message + more
    given = "" if first["type"] in ("missing", "value_error") else f" {_shortened(first['input'])}"
    return f"{spell(field)}{given}: {message}{more}"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
