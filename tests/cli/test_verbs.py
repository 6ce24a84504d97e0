"""What all verbs have in common: they are listed, and have a help with units and defaults that fits 80 columns."""

import re
from pathlib import Path

import pytest

import calligram.cli.verbs
from calligram.cli.main import find_verbs, main, summary
from calligram.data.sources import sources
from calligram.presets import presets

FOLDER = Path(calligram.cli.verbs.__path__[0])


def all_verbs(package: str = "calligram.cli.verbs", words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for word, path in find_verbs(package).items():
        is_group = path.name == "__init__.py"
        found += all_verbs(f"{package}.{path.parent.name}", (*words, word)) if is_group else [(*words, word)]
    return found


def test_the_verbs_that_were_promised_are_there():
    promised = "train tokenize classify generate evaluate show".split()
    data = [("data", word) for word in "make verify index info".split()]
    assert set(all_verbs()) >= {*((word,) for word in promised), *data}


@pytest.mark.parametrize("words", all_verbs(), ids=" ".join)
def test_every_verb_has_help(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*words, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: calligram {' '.join(words)}")
    assert err == ""
    assert max(map(len, out.splitlines()[1:])) <= 80  # tyro does not break the first


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_every_verb_says_what_it_is_for_in_a_line(path):
    assert re.fullmatch(r"[A-Z].+\.", summary(path))


@pytest.mark.parametrize("name", sorted(sources()))
def test_every_source_has_flags(name, capsys):
    assert main(["data", "make", name, "--help"]) == 0
    out = capsys.readouterr().out
    assert all(flag in out for flag in ("--out", "--processes", "--samples-per-shard"))
    assert all(f"--{field.replace('_', '-')}" in out for field in sources()[name].model_fields)


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_has_flags(name, capsys):
    assert main(["train", name, "--help"]) == 0
    out = capsys.readouterr().out
    assert all(flag in out for flag in ("--out", "--resume", "--train.steps", "--data.shards"))


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["trian"], "unknown verb 'trian'; did you mean 'train'?"),
        (["data", "mkae"], "unknown verb 'mkae'; did you mean 'make'?"),
        (["classify", "--lables", "a", "x.png"], "unknown flag --lables; did you mean --labels?"),
        (
            ["generate", "a dog", "--out", "x.png", "--guidence", "3"],
            "unknown flag --guidence; did you mean --guidance?",
        ),
        (["show"], "missing: RUN"),
        (["tokenize", "shards/x"], "missing: --tokenizer RUN"),
        (["data", "verify"], "missing: DIR"),
    ],
)
def test_wrong_words_are_told_in_one_line(argv, line, capsys):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"calligram: error: {line}")
    assert err.count("\n") == 1
