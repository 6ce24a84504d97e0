"""CSV gives every figure back; Markdown is in line as text, and nothing in a name is markup."""

import copy
import csv
import io
import json
import math
import re

import pytest
from rich.cells import cell_len

from calligram.errors import UserError
from calligram.eval.page import as_csv, as_markdown
from calligram.eval.page.text import plain
from tests.eval.page.example import cell, many, one, results, row


def test_csv_gives_every_figure_back():
    found = many()
    read = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len(read) == len(found["rows"]) > 100
    for text, given in zip(read, found["rows"], strict=True):
        assert (text["model"], text["metric"]) == (given["model"], given["metric"])
        for name in ("value", "low", "high"):
            assert text[name] == "" if given[name] is None else repr(float(text[name])) == repr(float(given[name]))


def test_csv_keeps_odd_names_whole():
    name = 'a,"b"\nc'
    (read,) = csv.DictReader(io.StringIO(as_csv(results([row(name, value=math.nan)], []))))
    assert (read["model"], read["value"]) == (name, "nan")


def test_markdown_of_one_figure():
    text = as_markdown(one())
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table == [
        "| task      | metric           |          clip |     n |",
        "| --------- | ---------------- | ------------: | ----: |",
        "| zero-shot | Top-1 accuracy ↑ | 0.970 ± 0.012 | 1,000 |",
    ]
    assert "1 model on 1 data set, 1 task, 23 November 2026" in text
    assert "Not measured" not in text


def test_markdown_has_every_data_set_and_every_gap():
    found = many()
    text = as_markdown(found)
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["set 0", "set 1", "set 2", "Not measured"]
    failed = sum(each["status"] == "failed" for each in found["cells"])
    assert failed > 0
    listed = [line for line in text.splitlines() if line.startswith("- failed")]
    assert sum(line.count("set ") for line in listed) == failed
    assert "**" in text
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            assert len({cell_len(line) for line in lines}) == 1


def test_nothing_in_a_name_is_markdown():
    name = "<script>|`*[x]\n猫"
    text = as_markdown(results([row(name), row("b", value=0.5)], [cell(name, status="failed", reason="a|b")]))
    assert plain(name) == r"\<script\>\|\`\*\[x\] 猫"
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}) == 1
    assert "<script>" not in text


def test_nothing_measured_is_said():
    assert "Nothing was measured." in as_markdown(results([], [cell(status="skipped")]))


def test_the_results_are_left_as_they_are():
    found = many(2, 4, 1)
    before = copy.deepcopy(found)
    as_markdown(found)
    as_csv(found)
    assert json.dumps(found) == json.dumps(before)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"version": 2}, "results of version 2: this calligram reads version 1"),
        ({"rows": [{**row(), "value": "good"}]}, r"damaged at rows\.0\.value"),
        ({"cells": [cell(status="lost")]}, r"damaged at cells\.0\.status"),
    ],
)
def test_damaged_results_are_told_in_one_line(damage, message):
    with pytest.raises(UserError, match=message) as caught:
        as_csv({**one(), **damage})
    assert "\n" not in str(caught.value)
