from pathlib import Path

import fsspec
import pytest

from calligram.data import patterns
from calligram.data.patterns import expand
from calligram.errors import UserError


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.tar", "a/0.tar", "a/b/2.tar", "a/notes.txt", "x[1].tar"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_patterns_stand_for_names_in_their_order(here):
    assert expand(["x[1].tar", "a/*.tar"]) == ["x[1].tar", "a/0.tar", "a/1.tar"]
    assert expand(["a"]) == ["a/0.tar", "a/1.tar", "a/b/2.tar"]
    assert expand(["a/{1..0}.tar", "http://h/{08..10}.tar"]) == [
        "a/1.tar",
        "a/0.tar",
        "http://h/08.tar",
        "http://h/09.tar",
        "http://h/10.tar",
    ]
    assert expand(["pipe:cat {a,b}.tar*"]) == ["pipe:cat a.tar*", "pipe:cat b.tar*"]


def test_stars_in_urls_are_for_stores_that_can_list(here):
    for name in ("p/1.tar", "p/0.tar"):
        with fsspec.open(f"memory://patterns/{name}", "wb") as file:
            file.write(b"x")
    assert expand(["memory://patterns/p/*.tar"]) == ["memory:///patterns/p/0.tar", "memory:///patterns/p/1.tar"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a/{0..1.tar"], r"a/\{0\.\.1\.tar has a brace too many"),
        (["nowhere/*.tar"], r"no shard matches nowhere/\*\.tar: give \.tar files"),
        (["a/*.tar", "a/0.tar"], r"a/0\.tar is named 2 times: give each shard once"),
        (["http://h/*.tar"], r"http://h/\*\.tar: a web server has no list"),
        (["memory://none/*.tar"], "no shard matches memory://none/"),
        (["xyz://none/*.tar"], r"xyz://none/\*\.tar: Protocol not known: xyz"),
        (["http://h/{0..30}.tar"], r"stands for more than 20 shards"),
    ],
)
def test_a_pattern_that_makes_no_sense(here, monkeypatch, given, said):
    monkeypatch.setattr(patterns, "MOST_SHARDS", 20)
    with pytest.raises(UserError, match=said):
        expand(given)
