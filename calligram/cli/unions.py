"""Fields that take one of several configurations: ``--loss.type siglip --loss.chunk-size 64``, in any order."""

import inspect
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeGuard, get_args

import tyro
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from calligram.errors import UserError


@dataclass(frozen=True)
class Union:
    """One such field."""

    flag: str  # "--loss.type"
    members: dict[str, type[BaseModel]]  # by their literal `type`
    is_open: bool  # it has no default, and nothing was chosen

    @property
    def prefix(self) -> str:
        """``--loss.``"""
        return self.flag.removesuffix("type")

    @property
    def alternatives(self) -> str:
        *others, last = self.members
        return f"{', '.join(others)} or {last}" if others else last

    def flags(self) -> dict[str, str]:
        """The flags of all members → the first member that has it."""
        owners = {}
        for word, member in self.members.items():
            for name in member.model_fields:
                owners.setdefault(self.prefix + name.replace("_", "-"), word)
        return owners


def start_values(model: type[BaseModel], default: BaseModel | None, args: list[str]) -> tuple[BaseModel, list[Union]]:
    """What flags start from: the defaults, with each union set to the member that ``args`` asks for.

    The instance is not validated, and holds ``tyro.MISSING`` where a value is required.
    """
    start = _Start(_types_in(args))
    return start.fill(model, default), start.unions


class _Start:
    """Walks a configuration and gathers its unions on the way."""

    def __init__(self, types: dict[str, str]) -> None:
        self.types = types
        self.unions: list[Union] = []

    def fill(self, model: type[BaseModel], instance: BaseModel | None, prefix: str = "--") -> BaseModel:
        values = {}
        for name, field in model.model_fields.items():
            value = field.get_default(call_default_factory=True) if instance is None else getattr(instance, name)
            values[name] = self._field(prefix + name.replace("_", "-"), field.annotation, value)
        return model.model_construct(**values)

    def _field(self, flag: str, annotation: Any, value: Any) -> Any:
        value = tyro.MISSING if value is PydanticUndefined else value
        if members := union_members(annotation):
            value = self._member(f"{flag}.type", members, value)
        if isinstance(value, BaseModel):
            return self.fill(type(value), value, f"{flag}.")
        if value is tyro.MISSING and is_model(annotation):
            return self.fill(annotation, None, f"{flag}.")
        return value

    def _member(self, flag: str, members: dict[str, type[BaseModel]], value: Any) -> Any:
        wanted = self.types.get(flag)
        union = Union(flag, members, is_open=wanted is None and value is tyro.MISSING)
        self.unions.append(union)
        if wanted is None or getattr(value, "type", None) == wanted:
            return value
        if wanted not in members:
            raise UserError(f"{flag} takes {union.alternatives}, not {wanted!r}")
        return _Start({}).fill(members[wanted], None)


def is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def union_members(annotation: Any) -> dict[str, type[BaseModel]]:
    """``SGD | AdamW | None`` → {"sgd": SGD, "adamw": AdamW}, by the literals of their fields ``type``."""
    members = {}
    for member in get_args(annotation):
        if is_model(member) and "type" in member.model_fields:
            for literal in get_args(member.model_fields["type"].annotation):
                members[literal] = member
    return members


def _types_in(args: list[str]) -> dict[str, str]:
    """``--optim.type sgd`` and ``--optim.type=sgd`` → {"--optim.type": "sgd"}."""
    types = {}
    for word, following in zip_longest(args, args[1:], fillvalue=""):
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and flag.endswith(".type"):
            types[flag.replace("_", "-")] = value if equals else following
    return types
