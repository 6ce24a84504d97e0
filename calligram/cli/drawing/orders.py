"""Prompts as people have them: words, a text with one a line, lines of JSON with settings of their own."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, ValidationError

from calligram.cli.console import describe_validation
from calligram.cli.drawing.flags import OrderFlags, SamplingFlags
from calligram.errors import UserError

if TYPE_CHECKING:
    from calligram.dalle.drawer import Drawer
    from calligram.dalle.sampling import SamplingConfig

STDIN = "-"


class Line(SamplingFlags):
    """What a line of a .jsonl file may say; what it leaves out is as the flags have it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    seed: int | None = Field(None, ge=0)
    num_images: int | None = Field(None, ge=1)


@dataclass(frozen=True)
class Request:
    """A line, and where it stands: ``prompts.txt, line 3``; nowhere for a word of the command line."""

    line: Line
    where: str = ""

    def error(self, message: str) -> UserError:
        return UserError(f"{self.where}: {message}" if self.where else message)


@dataclass(frozen=True)
class Order:
    """A prompt with all that decides on its pictures."""

    number: int  # from 1
    prompt: str
    seeds: range
    sampling: "SamplingConfig"


def read_requests(flags: OrderFlags, may_be_silent: bool) -> list[Request]:
    """All prompts in their order. ``may_be_silent``: there need be none, since a picture is given."""
    requests: list[Request] = []
    for word in flags.prompts:
        requests += _parse(sys.stdin, "stdin") if word == STDIN else [Request(_said(word))]
    if flags.prompts_file is not None:
        requests += _read_file(flags.prompts_file)
    asked = bool(flags.prompts) or flags.prompts_file is not None
    if not requests and not (may_be_silent and not asked):
        raise UserError("there is nothing to draw: the list of prompts is empty" if asked else MISSING)
    for request in requests:
        if not request.line.prompt.strip():
            raise request.error("the prompt is empty: say what to draw")
    return requests or [Request(_said(""))]


MISSING = "missing: PROMPT; say in quotes what to draw, or give --prompts-file FILE"


def make_orders(
    requests: Sequence[Request], flags: OrderFlags, dalle: "Drawer", sampling: SamplingFlags
) -> list[Order]:
    """With the settings of the run, over these the flags', over these the line's own."""
    from calligram.dalle.sampling import SamplingConfig

    orders = []
    for number, request in enumerate(requests, 1):
        line = request.line
        settings = dalle.sampling.model_dump() | _given(sampling) | _given(line)
        try:
            dalle.text_tokenizer([line.prompt], strict=True)
            config = SamplingConfig.model_validate(settings)
        except ValidationError as error:
            raise request.error(describe_validation(error)) from None
        except UserError as error:
            raise request.error(str(error)) from None
        first = flags.seed if line.seed is None else line.seed
        count = flags.num_images if line.num_images is None else line.num_images
        orders.append(Order(number, line.prompt, range(first, first + count), config))
    return orders


def _said(prompt: str) -> Line:
    return Line.model_validate({"prompt": prompt})


def _given(flags: SamplingFlags) -> dict[str, Any]:
    values = {name: getattr(flags, name) for name in SamplingFlags.model_fields}
    return {name: value for name, value in values.items() if value is not None}


def _read_file(path: Path) -> list[Request]:
    if str(path) == STDIN:
        return _parse(sys.stdin, "stdin")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read --prompts-file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"--prompts-file {path} is not a UTF-8 text: write a prompt a line") from None
    return _parse(text.splitlines(), str(path), as_json=path.suffix.lower() == ".jsonl")


def _parse(lines: Iterable[str], name: str, as_json: bool | None = None) -> list[Request]:
    """Empty lines are left out. On stdin a line that begins with a brace is JSON."""
    return list(_requests([line.strip() for line in lines], name, as_json))


def _requests(lines: Sequence[str], name: str, as_json: bool | None) -> Iterator[Request]:
    for number, text in enumerate(lines, 1):
        where = f"{name}, line {number}"
        if not text:
            continue
        is_json = text.startswith("{") if as_json is None else as_json
        yield Request(_parse_json(text, where) if is_json else _said(text), where)


def _parse_json(text: str, where: str) -> Line:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f'{where} is not JSON ({error}): write {{"prompt": "..."}}') from None
    if not isinstance(found, dict):
        raise UserError(f'{where} is no object: write {{"prompt": "..."}}')
    if unknown := sorted(found.keys() - Line.model_fields):
        name, known = unknown[0], ", ".join(Line.model_fields)
        raise UserError(f"{where}: {name} {json.dumps(found[name])}: there is no such field; there are {known}")
    try:
        return Line.model_validate(found)
    except ValidationError as error:
        raise UserError(f"{where}: {describe_validation(error)}") from None
