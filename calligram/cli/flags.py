"""Flags from a configuration or a function: ``parse(Config, args, prog="calligram train")``.

tyro makes the flags; ours are the choice between configurations (``unions.py``) and errors of one line
(``flag_errors.py``).
"""

import contextlib
import functools
import inspect
import io
import os
import re
import shutil
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin

import tyro
from pydantic import BaseModel

from calligram.cli.flag_errors import explain
from calligram.cli.unions import Union, is_model, start_values
from calligram.data.place import place
from calligram.errors import UserError

Result = TypeVar("Result")

# a flag's type for lists that people write with commas: "cat,a red dog" → ("cat", "a red dog")
Names = Annotated[
    tuple[str, ...],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="A,B,...",
        instance_from_str=lambda words: tuple(filter(None, (name.strip() for name in words[0].split(",")))),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda names: [",".join(names)],
    ),
]


def parse(
    target: Callable[..., Result],
    args: list[str],
    *,
    prog: str,
    description: str | None = None,
    default: Result | None = None,
) -> Result:
    """An instance of a pydantic model, or what a function returns, made from flags.

    ``prog`` is what the help calls it: ``calligram train``. ``default`` is an instance to start from, such as a
    preset. Help texts come from ``Field(description=...)`` or from the string below a field; for a function from
    the ``Args:`` of its docstring. A model's union of configurations with a literal ``type`` is chosen by
    ``--field.type``. Raises UserError, one line, where the flags are wrong; ``--help`` prints and exits.
    """
    if is_model(target):
        start, unions = start_values(target, default if isinstance(default, BaseModel) else None, args)
        for union in unions:
            if union.is_open and not _wants_help(args):
                raise UserError(f"missing: {union.flag} takes {union.alternatives}")
        words = [description or inspect.cleandoc(target.__doc__ or "")]
        words += [f"{union.flag} takes {union.alternatives}; each has flags of its own." for union in unions]
        return _run_tyro(target, args, prog, unions, description=_wrap("\n\n".join(words)), default=start)
    call = _run_tyro(_bound(target), args, prog, [], description=description)
    return call()


def _bound(function: Callable[..., Result]) -> Callable[..., Callable[[], Result]]:
    """The same signature, but the call is left for later: what it prints and raises is not about flags."""

    @functools.wraps(function)
    def bind(*args: Any, **kwargs: Any) -> Callable[[], Result]:
        return functools.partial(function, *args, **kwargs)

    return bind


def _wrap(text: str) -> str:
    """Paragraphs and list items as wide as the terminal, which tyro leaves to others.

    Lines but the first are indented: tyro would join those that begin with a letter.
    """
    width = min(100, shutil.get_terminal_size().columns)
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if lines and not paragraph.startswith("- "):  # tyro sets a list apart by itself
            lines.append("")
        for item in re.split(r"\n(?=- )", paragraph):
            lines += textwrap.wrap(" ".join(item.split()), width, subsequent_indent="  ")
    return "\n".join(lines)


def _wants_help(args: list[str]) -> bool:
    return "-h" in args or "--help" in args


def _run_tyro(target: Any, args: list[str], prog: str, unions: list[Union], **options: Any) -> Any:
    """tyro.cli, but errors are raised as UserError: tyro prints a box of many lines and exits."""

    def cli(words: list[str]) -> Any:
        # AvoidSubcommands: a union shows the flags of its default member among the others
        config = (tyro.conf.AvoidSubcommands,)
        return tyro.cli(target, args=words, prog=prog, config=config, registry=_registry(), **options)

    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box), contextlib.nullcontext() if _wants_help(args) else _wide_terminal():
            return cli(args)
    except SystemExit as stop:
        if not stop.code:
            raise  # the help has been printed
        problem = stop
    message = explain(problem, box.getvalue(), args, _help_of(cli), unions)
    remedy = "" if message.endswith("?") else f"; `{prog} --help` lists the flags"
    raise UserError(message + remedy) from problem


def _registry() -> tyro.constructors.ConstructorRegistry:
    """tyro's types and ours: a place is one word, which the help calls DIR, and so is a path that may be missing."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def rule(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
        kinds = _members(info.type)
        if len(kinds) == 1 or kinds - {NoneType} not in ({str, Path}, {Path}):
            return None
        read, metavar = (place, "DIR") if str in kinds else (Path, "PATH")
        may_miss = NoneType in kinds
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=metavar,
            # a preset may have one, which --init None takes away
            instance_from_str=lambda words: None if may_miss and words == ["None"] else read(words[0]),
            is_instance=lambda value: isinstance(value, str | Path) or (may_miss and value is None),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _members(annotation: Any) -> set[Any]:
    """The types of a union, also of one within another; or the type itself."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) not in (typing.Union, UnionType):
        return {annotation}
    return {each for member in get_args(annotation) for each in _members(member)}


def _help_of(cli: Callable[[list[str]], Any]) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit), _wide_terminal():
        cli(["--help"])
    return text.getvalue()


@contextlib.contextmanager
def _wide_terminal() -> Iterator[None]:
    """Keeps tyro from breaking lines in the middle of the words that we look for."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "129"  # from 130 on, a long help has two columns
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
