"""The door: finds the verb that was asked for, runs it and turns every outcome into an exit status.

0 done, 1 failed, 2 bad input, 130 interrupted, 141 nobody reads the output any more.
"""

import ast
import difflib
import importlib
import os
import select
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import calligram
from calligram.cli.console import report, say
from calligram.errors import Interrupted, UserError

VERBS_PACKAGE = "calligram.cli.verbs"
STDOUT = 1  # the file descriptor
STATUS_INTERRUPTED = 130  # 128 + SIGINT, as shells count
STATUS_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: a training that was told to go and has saved
STATUS_NO_READER = 141  # 128 + SIGPIPE


def main(argv: list[str] | None = None) -> int:
    """Runs ``calligram ARGV...`` and returns its exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = _take_debug(args)
    try:
        status = _run(args, VERBS_PACKAGE, "calligram")
        sys.stdout.flush()  # here, where a closed pipe can still be told apart
        return status
    except SystemExit as stop:
        return _status_of(stop)
    except Interrupted as stop:
        say(f"calligram: {stop}; the same command with --resume goes on")
        return STATUS_AGAIN
    except KeyboardInterrupt:
        say("calligram: interrupted")
        return STATUS_INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _stdout_is_closed():
            return STATUS_NO_READER
        if debug:
            traceback.print_exc()
        return report(error)


def _take_debug(args: list[str]) -> bool:
    """Removes --debug, which is allowed anywhere before a ``--``."""
    ours = args[: args.index("--")] if "--" in args else args
    if "--debug" in ours:
        args.remove("--debug")
        return True
    return os.environ.get("CALLIGRAM_DEBUG", "0") not in ("", "0")


def _run(args: list[str], package: str, prog: str) -> int:
    """Runs the verb that ``args`` begins with; a group of verbs is a package within the package."""
    verbs = find_verbs(package)
    word, *rest = args or ["--help"]
    if word in ("-h", "--help"):
        print(_help(verbs, package, prog))
        return 0
    if word == "--version" and package == VERBS_PACKAGE:
        print(f"calligram {calligram.__version__}")
        return 0
    if word not in verbs:
        raise UserError(_unknown(word, verbs, prog))
    module = f"{package}.{word.replace('-', '_')}"
    if verbs[word].name == "__init__.py":
        return _run(rest, module, f"{prog} {word}")
    return importlib.import_module(module).main(rest) or 0


def find_verbs(package: str) -> dict[str, Path]:
    """The words of a package → their files: ``train.py``, or ``data/__init__.py`` for a group."""
    folder = Path(importlib.import_module(package).__path__[0])
    files = [path for path in folder.glob("*.py") if not path.name.startswith("_")]
    groups = list(folder.glob("[a-z]*/__init__.py"))
    named = [(path.stem, path) for path in files] + [(path.parent.name, path) for path in groups]
    return {name.replace("_", "-"): path for name, path in sorted(named)}


def summary(path: Path) -> str:
    """The first line of a file's docstring, read without importing it: the file may import torch."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return docstring.splitlines()[0] if docstring else ""


def _help(verbs: dict[str, Path], package: str, prog: str) -> str:
    width = max((len(word) for word in verbs), default=0)
    table = [f"  {word:<{width}}  {summary(path)}" for word, path in verbs.items()]
    lines = [f"usage: {prog} VERB [--flags]", "", *table, "", f"{prog} VERB --help tells more about a verb."]
    if package == VERBS_PACKAGE:
        lines.append("calligram --version prints the version; --debug shows where a failure happened.")
    return "\n".join(lines)


def _unknown(word: str, verbs: dict[str, Path], prog: str) -> str:
    kind = "flag" if word.startswith("-") else "verb"
    nearest = difflib.get_close_matches(word, verbs, n=1)
    remedy = f"did you mean {nearest[0]!r}?" if nearest else f"`{prog} --help` lists the verbs"
    return f"unknown {kind} {word!r}; {remedy}"


def _status_of(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    say(str(stop.code))
    return 1


def _stdout_is_closed() -> bool:
    """Whether the broken pipe was ours, as in ``calligram ... | head``, and not one between processes."""
    poll = select.poll()
    poll.register(STDOUT, 0)  # errors are told without being asked for
    if not poll.poll(0):
        return False
    # Python flushes once more at exit, which would complain again
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    return True


def entry() -> NoReturn:
    """The program: :func:`main`, and its status for the shell."""
    status = main()
    if status == STATUS_AGAIN:  # whoever told us to go waits: taking torch down takes longer than saving did
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    entry()
