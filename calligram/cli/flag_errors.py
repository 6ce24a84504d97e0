"""One line about wrong flags, out of the box of lines that tyro prints.

The box's wording may change with tyro: what is not recognised here is passed on as it is, joined to one line.
"""

import difflib
import re
from collections.abc import Iterator

from pydantic import ValidationError

from calligram.cli.console import describe_validation
from calligram.cli.unions import Union

ANSI = re.compile(r"\x1b\[[0-9;]*m")
RULE = re.compile(r" *([╭╰]|[─-]{5,})")  # tyro draws with other characters where stdout isn't UTF-8
FLAG = re.compile(r"(?<![\w.-])--?[a-zA-Z][\w.-]*")
# Python's and tyro's words for a value that a type doesn't take; the flag's type tells a person more
CONVERSION = re.compile(r"invalid literal|could not (convert|parse|find valid parse)|no type matching", re.I)


def explain(problem: BaseException, box: str, args: list[str], help_text: str, unions: list[Union]) -> str:
    """``problem`` is what tyro raised after it had printed ``box``; ``help_text`` lists the flags there are."""
    types = _flag_types(help_text)
    lines = _paragraph(box)
    text = " ".join(line.strip() for line in lines)
    return (
        _unknown_flag(args, types, unions)
        or _invalid_field(problem, text, types)
        or _missing(lines)
        or _wrong_value(text, types)
        or text
        or "the flags could not be read"
    )


def _paragraph(box: str) -> list[str]:
    """The lines of a box that say what is wrong: those between its first rule, with the title, and its second."""
    lines = [ANSI.sub("", line).lstrip("│").rstrip("│ ") for line in box.splitlines()]
    rules = [index for index, line in enumerate(lines) if RULE.match(line)] + [len(lines), len(lines)]
    return [line for line in lines[rules[0] + 1 : rules[1]] if line]


def _flag_types(help_text: str) -> dict[str, str]:
    """{"--steps": "INT", "--color": "{red,blue}", "--fast": ""} from the lines of the help."""
    types = {}
    for line in help_text.splitlines():
        spelled = re.split(r"\s{2,}", ANSI.sub("", line).strip("│ "))[0]
        if spelled.startswith("-"):
            flags = list(FLAG.finditer(spelled))
            types |= {flag.group(): spelled[flags[-1].end() :].strip() for flag in flags}
    return types


def _unknown_flag(args: list[str], types: dict[str, str], unions: list[Union]) -> str | None:
    for flag in _flags_in(args):
        if flag in types:
            continue
        elsewhere = {name: (union.flag, owner) for union in unions for name, owner in union.flags().items()}
        if flag in elsewhere:
            return f"{flag} needs {' '.join(elsewhere[flag])}"
        nearest = difflib.get_close_matches(flag, [*types, *elsewhere], n=1)
        return f"unknown flag {flag}" + (f"; did you mean {nearest[0]}?" if nearest else "")
    return None


def _flags_in(args: list[str]) -> Iterator[str]:
    for word in args:
        if word == "--":
            return
        flag = word.partition("=")[0]
        # of the words with one dash only "-n" surely is a flag: "-n16" and "-inf" may be values
        if re.fullmatch(r"--[a-zA-Z].*|-[a-zA-Z]", flag):
            yield flag.replace("_", "-")


def _invalid_field(problem: BaseException, text: str, types: dict[str, str]) -> str | None:
    """For values that the configuration itself refuses: ``--optim.momentum 3.0: should be less than 1``."""
    cause: BaseException | None = problem
    while cause is not None and not isinstance(cause, ValidationError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    place = re.match(r"Error parsing ([\w.-]+):", text)  # a field of the whole, or the name of its class
    prefix = f"{place.group(1)}." if place and any(flag.startswith(f"--{place.group(1)}.") for flag in types) else ""

    def spell(field: str) -> str:
        name = prefix + field.replace("_", "-")
        return f"--{name}" if f"--{name}" in types else name

    return describe_validation(cause, spell)


def _missing(lines: list[str]) -> str | None:
    """tyro lists what is missing with its help text indented below: ``--out STR``, ``folder to write``."""
    if not any(line.strip().startswith("Missing from") for line in lines):
        return None
    depths = {line: len(line) - len(line.lstrip()) for line in lines if "Missing from" not in line}
    names = [line.strip() for line, depth in depths.items() if depth == min(depths.values())]
    return f"missing: {', '.join(names)}"


def _wrong_value(text: str, types: dict[str, str]) -> str | None:
    """``--steps takes INT, not 'abc'``."""
    if choice := re.match(r"invalid choice '(.*)' for argument '(\S+)'", text):
        value, flag = choice.groups()
    elif absent := re.match(r"Missing value for argument '(\S+)'", text):
        flag = absent.group(1)
        return f"{flag} needs a value: {types.get(flag.split('/')[-1], '')}".rstrip(": ")
    elif conversion := re.match(r"Error parsing (\S+): (.*)", text):
        flag, complaint = conversion.groups()
        if not CONVERSION.match(complaint):
            return f"{flag}: {complaint}"
        value = _quoted(complaint)
    elif stray := re.match(r"Unrecognized options: (.*)", text):
        return f"unexpected {stray.group(1)!r}"
    else:
        return None
    kind = types.get(flag.split("/")[-1], "")  # "-n/--num-images": the long one
    return f"{flag} takes {_in_words(kind)}, not {value!r}" if kind else f"{flag}: {value!r} doesn't fit"


def _quoted(complaint: str) -> str:
    """The value in a complaint: ``'abc'``, or ``['1', 'x']`` as ``1 x``."""
    found = re.search(r"\['.*?'\]|'[^']*'", complaint)
    return " ".join(re.findall(r"'([^']*)'", found.group())) if found else complaint


def _in_words(kind: str) -> str:
    """``{red,blue}`` → ``red or blue``, ``[INT [INT ...]]`` → ``INT ...``; ``INT`` and the like say enough."""
    if several := re.fullmatch(r"\[(.+) \[\1 \.\.\.\]\]", kind):
        return f"{several.group(1)} ..."
    return re.sub(r"\{([^{}]*)\}", lambda choices: choices.group(1).replace(",", " or "), kind).replace("|", " or ")
