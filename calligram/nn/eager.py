"""What torch.compile is to leave alone."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")


def eager(function: Callable[P, R]) -> Callable[P, R]:
    """A function that compiled code calls as it is: where it reads Python numbers that differ from batch to batch.

    Compiled in, each new set of them would have all around it compiled anew, until dynamo gives up on it.
    """
    return cast(Callable[P, R], cast(Any, torch.compiler.disable)(function))
