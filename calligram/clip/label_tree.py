"""Labels within labels: only the leaves are compared with a picture, and a group's probability is its leaves' sum.

# B pictures, C leaves, G groups
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calligram.errors import UserError

HOW = 'write JSON like {"animal": ["cat", {"dog": ["poodle", "beagle"]}], "vehicle": ["car"]}'


@dataclass(frozen=True)
class Group:
    """A label that others stand under; ``leaves`` are the numbers of all leaves below it."""

    name: str
    depth: int  # 0 for the uppermost
    leaves: tuple[int, ...]


@dataclass(frozen=True)
class LabelTree:
    """Leaves in their order, and groups, each before those within it."""

    leaves: tuple[str, ...]
    groups: tuple[Group, ...] = ()

    def group_probabilities(self, leaf_BC: Tensor) -> Tensor:
        """Probabilities (B, G): sums of those of the leaves."""
        member_CG = torch.zeros(len(self.leaves), len(self.groups), dtype=leaf_BC.dtype, device=leaf_BC.device)
        for number, group in enumerate(self.groups):
            member_CG[list(group.leaves), number] = 1
        return leaf_BC @ member_CG


def flat(labels: Sequence[str]) -> LabelTree:
    """Labels without groups, each once."""
    return LabelTree(tuple(dict.fromkeys(labels)))


def parse_tree(found: Any) -> LabelTree:
    """A tree from what JSON gives: a list of labels and of {group: list}. Raises UserError for anything else."""
    leaves: list[str] = []
    groups: list[Group] = []
    for node in _nodes(found):
        _add(node, 0, leaves, groups)
    names = [*leaves, *(group.name for group in groups)]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"the label {name!r} stands twice in the tree: name each once")
    return LabelTree(tuple(leaves), tuple(groups))


def _add(node: Any, depth: int, leaves: list[str], groups: list[Group]) -> None:
    if isinstance(node, str):
        if not node.strip():
            raise UserError("a label of the tree is empty: name it, or leave it out")
        leaves.append(node.strip())
        return
    name, children = node
    at, first = len(groups), len(leaves)
    groups.append(Group(name, depth, ()))  # its place, before those within it
    for child in _nodes(children):
        _add(child, depth + 1, leaves, groups)
    if len(leaves) == first:
        raise UserError(f"the group {name!r} has no labels: add some, or leave it out")
    groups[at] = Group(name, depth, tuple(range(first, len(leaves))))


def _nodes(found: Any) -> Iterator[Any]:
    """Labels and pairs of a group's name and what is in it."""
    if isinstance(found, dict):
        yield from found.items()
    elif isinstance(found, list):
        for one in found:
            if isinstance(one, str):
                yield one
            elif isinstance(one, dict):
                yield from one.items()
            else:
                raise UserError(f"{str(one)[:60]!r} is neither a label nor a group of labels: {HOW}")
    else:
        raise UserError(f"{str(found)[:60]!r} is not a list of labels: {HOW}")
