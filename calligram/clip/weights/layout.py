"""Names of tensors, theirs ⇄ ours, as tables of rules; a state dict goes through them in either direction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calligram.errors import UserError

State = dict[str, Tensor]
NAMES_SHOWN = 4


@dataclass(frozen=True)
class How:
    """How the tensors on their side are the one on ours."""

    to_ours: Callable[[Sequence[Tensor]], Tensor]
    to_theirs: Callable[[Tensor, int], Sequence[Tensor]]  # given how many there are


def leading(number: int) -> How:
    """Theirs has so many leading dimensions of length 1."""
    return How(lambda xs: xs[0].reshape(xs[0].shape[number:]), lambda x, _: [x.reshape(*[1] * number, *x.shape)])


def _split(x: Tensor, number: int) -> Sequence[Tensor]:
    """Query, key and value; or query, and key with value."""
    width = len(x) // 3
    return x.split([width] * 3 if number == 3 else [width, 2 * width])


SAME = How(lambda xs: xs[0], lambda x, _: [x])
TRANSPOSED = How(lambda xs: xs[0].T, lambda x, _: [x.T])
NUMBER = How(lambda xs: xs[0].reshape(()), lambda x, _: [x])  # some keep a single number as a list of one
NUMBER_IN_LIST = How(lambda xs: xs[0].reshape(()), lambda x, _: [x.reshape(1)])
JOINED = How(lambda xs: torch.cat(list(xs)), _split)  # our query, key and value are one matrix


HALVES = How(lambda xs: torch.cat(list(xs)), lambda x, number: x.chunk(number))  # key and value, of a query apart
FIRST = How(lambda xs: xs[0][0], lambda x, _: [x[None]])  # of several the only one that is read


@dataclass(frozen=True)
class Rule:
    """One tensor of ours, and which of theirs it is made of."""

    ours: str
    theirs: tuple[str, ...]
    how: How = SAME


Table = Mapping[str, str | tuple[str, ...]]


def rules(table: Table, ours: str = "", theirs: str = "") -> list[Rule]:
    """Rules of a table {our name: their name}, within two modules. ``x.*`` stands for a weight and a bias.

    Several names on their side are joined.
    """
    found = []
    for name, others in table.items():
        others = (others,) if isinstance(others, str) else others
        for kind in ("weight", "bias") if name.endswith("*") else ("",):
            theirs_now = tuple(theirs + other.replace("*", kind) for other in others)
            found.append(Rule(ours + name.replace("*", kind), theirs_now, JOINED if len(others) > 1 else SAME))
    return found


def block_rules(table: Table, number: int, ours: str, theirs: str) -> list[Rule]:
    """The same table for each of so many blocks, whose modules have a ``{}`` for their number."""
    return [rule for n in range(number) for rule in rules(table, ours.format(n), theirs.format(n))]


def to_ours(state: State, rules: Sequence[Rule], ignored: Iterable[str] = ()) -> State:
    """Their tensors under our names, in fp32. Raises UserError where one is missing or left over."""
    wanted = {name for rule in rules for name in rule.theirs}
    missing = sorted(wanted - state.keys())
    unknown = sorted(name for name in state.keys() - wanted if not name.endswith(tuple(ignored)))
    problems = [f"{_named(names)} {why}" for names, why in ((missing, "missing"), (unknown, "of no use")) if names]
    if problems:
        raise UserError(f"these weights are not of that model: {'; '.join(problems)}")
    # contiguous and by themselves: views of one another cannot be saved
    return {rule.ours: _own(rule.how.to_ours([state[name] for name in rule.theirs])) for rule in rules}


def to_theirs(state: State, rules: Sequence[Rule]) -> State:
    """Our tensors under their names."""
    made: State = {}
    for rule in rules:
        made |= zip(rule.theirs, map(_own, rule.how.to_theirs(state[rule.ours], len(rule.theirs))), strict=True)
    assert state.keys() == {rule.ours for rule in rules}, state.keys() ^ {rule.ours for rule in rules}
    return made


def _own(x: Tensor) -> Tensor:
    x = x.float() if x.is_floating_point() else x
    return x.detach().clone(memory_format=torch.contiguous_format)


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{shown} and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else shown
