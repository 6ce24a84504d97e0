"""Tables and little drawings for the terminal."""

import pytest

from calligram.cli.table import bar, megabytes, print_list, print_table, shorten, sparkline


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, ""), (1, "████"), (0.5, "██"), (0.53, "██▏"), (1 / 32, "▏"), (-1, ""), (7, "████")],
)
def test_bar(share, expected):
    assert bar(share, 4) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([3.0], "▁"),
        ([2.0, 2.0], "▁▁"),
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([7, float("nan"), 0, float("inf")], "█▁"),
        ([0, 0, 10, 10, 0, 0, 10, 10, 0, 0, 10, 10, 0, 0, 10, 10], "▁█▁█▁█▁█"),  # means of two
    ],
)
def test_sparkline(values, expected):
    assert sparkline(values, 8) == expected


def test_a_long_curve_keeps_to_its_width():
    assert len(sparkline([1 / (1 + i) for i in range(1000)], 60)) == 60


def test_a_table_gives_way_in_one_column(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    print_table(["name", "text", "n"], [["abcdefgh", "one [red]two[/red] three four", "12"]], right=[2], squeeze=1)
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "text", "n"]
    assert row == "abcdefgh  one [red]two[/r…  12"
    assert len(row) == 30


def test_wide_letters_keep_their_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_table(["label", "n"], [["犬", "1"], ["a cat", "2"]], right=[1])
    assert capsys.readouterr().out.splitlines() == ["label  n", "犬     1", "a cat  2"]


def test_a_list_is_wrapped_beside_its_names(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    print_list([("a", "one two three four five six"), ("bcd", ""), ("e", "/a/path/that/is/to-be-copied/whole")])
    assert capsys.readouterr().out.splitlines() == [
        "  a    one two three four five",
        "       six",
        "  bcd  -",
        "  e    /a/path/that/is/to-be-copied/whole",
    ]


def test_sizes_and_paths():
    assert megabytes(123_456_789) == "123.5 MB"
    assert megabytes(2_048) == "2.0 kB"
    assert shorten("photos/cats/0001.png", 12) == "…ts/0001.png"
    assert shorten("a.png", 12) == "a.png"
