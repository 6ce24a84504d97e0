"""Parts of a model that are not trained, as in LiT (arXiv 2111.07991): their weights stay as they were loaded."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from calligram.errors import UserError


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters that a pattern names: ``visual`` and all in it, or ``text.*.weight``.

    Raises UserError for a pattern that names none, and where none would be left to train.
    """
    for name in matching(model, patterns, "--train.freeze"):
        model.get_parameter(name).requires_grad_(False)
    if patterns and not any(p.requires_grad for p in model.parameters()):
        raise UserError(f"--train.freeze {' '.join(patterns)} leaves nothing to train: freeze less")


def matching(model: nn.Module, patterns: Sequence[str], flag: str) -> list[str]:
    """The parameters that any of the patterns names. Raises UserError for one that names none."""
    names, chosen = [name for name, _ in model.named_parameters()], []
    for pattern in patterns:
        found = [name for name in names if _matches(name, pattern)]
        if not found:
            parts = {".".join(name.split(".")[:depth]) for name in names for depth in (1, 2, 3)}
            near = difflib.get_close_matches(pattern, sorted(parts), n=1)
            remedy = (
                f"did you mean {near[0]}?"
                if near
                else f"there are: {', '.join(sorted({n.split('.')[0] for n in names}))}"
            )
            raise UserError(f"{flag} {pattern} names no part of the model; {remedy}")
        chosen += found
    return chosen


def rest(model: nn.Module) -> None:
    """Frozen modules do not drop out, and keep the statistics of their BatchNorms. Called after ``model.train()``."""
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(p.requires_grad for p in own):
            module.eval()


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)
