"""The door: verbs are found in a folder, and every outcome has its exit status and its line."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calligram.cli import main as door
from calligram.cli.main import find_verbs, main, summary

GREET = '''"""Says a word.

More about it.
"""

from pydantic import BaseModel, Field

from calligram.cli.flags import parse
from calligram.errors import UserError


class Greeting(BaseModel):
    name: str
    times: int = Field(1, ge=1, description="how often (times)")


def main(args):
    greeting = parse(Greeting, args, prog="calligram greet")
    if greeting.name == "nobody":
        raise UserError("name 'nobody' is nobody:\\n  give a name")
    for _ in range(greeting.times):
        print("hello", greeting.name)
'''

OUTCOMES = '''"""Ends as it is told."""

from pydantic import BaseModel


class Config(BaseModel):
    width: int


def main(args):
    match args:
        case ["failure"]:
            raise RuntimeError("the disk is full")
        case ["interrupt"]:
            raise KeyboardInterrupt
        case ["config"]:
            Config.model_validate({"width": "wide"})
        case ["status"]:
            return 1
        case ["other-pipe"]:
            raise BrokenPipeError("a worker went away")
        case ["lines"]:
            for number in range(100_000):
                print(number)
'''


@pytest.fixture
def toy_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "toy_verbs"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "greet.py").write_text(GREET)
    (folder / "end_as.py").write_text(OUTCOMES)
    (folder / "heavy.py").write_text('"""Imports what must not be imported."""\nraise AssertionError("imported")\n')
    (folder / "data" / "__init__.py").write_text('"""Things about data."""\n')
    (folder / "data" / "index.py").write_text('"""Counts."""\n\ndef main(args):\n    print("index", args)\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(door, "VERBS_PACKAGE", "toy_verbs")
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy_verbs"]:
        del sys.modules[name]


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_lists_each_verb_without_importing_it(toy_verbs, capsys, argv):
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert "  greet   Says a word.\n" in out
    assert "  end-as  Ends as it is told.\n" in out
    assert "  heavy   Imports what must not be imported.\n" in out
    assert "  data    Things about data.\n" in out
    assert err == ""


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"calligram \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_a_verb_gets_its_words(toy_verbs, capsys):
    assert main(["greet", "--name", "moon", "--times", "2"]) == 0
    assert capsys.readouterr().out == "hello moon\nhello moon\n"


def test_a_verb_has_help_with_units_and_defaults(toy_verbs, capsys):
    assert main(["greet", "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage: calligram greet" in out
    assert "how often (times) (default: 1)" in out


def test_a_folder_is_a_group_of_verbs(toy_verbs, capsys):
    assert main(["data", "index", "x"]) == 0
    assert capsys.readouterr().out == "index ['x']\n"
    assert main(["data"]) == 0
    assert "  index  Counts." in capsys.readouterr().out
    assert main(["data", "indx"]) == 2
    assert capsys.readouterr().err == "calligram: error: unknown verb 'indx'; did you mean 'index'?\n"


@pytest.mark.parametrize(
    ("argv", "status", "line"),
    [
        (["gret"], 2, "calligram: error: unknown verb 'gret'; did you mean 'greet'?"),
        (["xyzzy"], 2, "calligram: error: unknown verb 'xyzzy'; `calligram --help` lists the verbs"),
        (["--loud"], 2, "calligram: error: unknown flag '--loud'; `calligram --help` lists the verbs"),
        (["greet", "--nam", "moon"], 2, "calligram: error: unknown flag --nam; did you mean --name?"),
        (["greet", "--name", "nobody"], 2, "calligram: error: name 'nobody' is nobody: give a name"),
        (["end-as", "config"], 2, "calligram: error: width 'wide': should be a valid integer, unable to parse string"),
        (["end-as", "failure"], 1, "calligram: failed: RuntimeError: the disk is full (--debug shows where)"),
        (["end-as", "other-pipe"], 1, "calligram: failed: BrokenPipeError: a worker went away (--debug shows where)"),
        (["end-as", "interrupt"], 130, "calligram: interrupted"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(toy_verbs, capsys, argv, status, line):
    assert main(argv) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_a_verb_may_return_its_status(toy_verbs):
    assert main(["end-as", "status"]) == 1


@pytest.mark.parametrize("argv", [["--debug", "end-as", "failure"], ["end-as", "failure", "--debug"]])
def test_debug_shows_where(toy_verbs, capsys, argv):
    assert main(argv) == 1
    assert "Traceback" in capsys.readouterr().err


def test_debug_by_environment(toy_verbs, capsys, monkeypatch):
    monkeypatch.setenv("CALLIGRAM_DEBUG", "1")
    assert main(["end-as", "failure"]) == 1
    assert "end_as.py" in capsys.readouterr().err


def test_debug_after_two_dashes_is_a_word(toy_verbs, capsys):
    assert main(["data", "index", "--", "--debug"]) == 0
    assert capsys.readouterr().out == "index ['--', '--debug']\n"


def test_a_reader_may_leave(toy_verbs):
    """As in ``calligram ... | head -1``: no traceback, no complaint."""
    code = "from calligram.cli import main as door; door.VERBS_PACKAGE = 'toy_verbs'; raise SystemExit(door.main())"
    command = [sys.executable, "-c", code, "end-as", "lines"]
    path = os.pathsep.join([str(toy_verbs.parent), *filter(None, sys.path)])
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_the_door_opens_quickly():
    """``--help`` is what people wait for most often: neither torch nor the flags' machinery is imported."""
    code = "import sys; from calligram.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("usage: calligram VERB")
    assert {"torch", "numpy", "tyro", "pydantic", "rich"}.isdisjoint(run.stderr.split())


VERBS = {**find_verbs(door.VERBS_PACKAGE)}
VERBS |= {
    f"{group} {word}": path
    for group, init in VERBS.items()
    if init.name == "__init__.py"
    for word, path in find_verbs(f"{door.VERBS_PACKAGE}.{group.replace('-', '_')}").items()
}


@pytest.mark.parametrize("word", VERBS)
def test_every_verb_says_what_it_is_for_and_can_be_run(word):
    path = VERBS[word]
    assert summary(path).endswith("."), f"{path} needs a docstring whose first line is a sentence"
    functions = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    assert path.name == "__init__.py" or "main" in functions, f"{path} needs main(args: list[str]) -> int | None"
