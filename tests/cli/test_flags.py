"""Flags made from configurations, and one line for whatever is wrong with them."""

import io
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro
from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from calligram.cli.flags import Names, parse
from calligram.data.training import DataConfig
from calligram.errors import UserError


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SGD(Frozen):
    type: Literal["sgd"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1, description="share of the last step that is kept (no unit)")


class AdamW(Frozen):
    type: Literal["adamw"] = "adamw"
    second_beta: float = 0.95
    """decay of the second moment (no unit)"""


class Table(Frozen):
    type: Literal["table"] = "table"
    rows: int  # no default


class Model(Frozen):
    width: int = 24
    """channels"""

    @model_validator(mode="after")
    def heads_fit(self) -> "Model":
        if self.width % 12:
            raise ValueError(f"width {self.width} is not divisible by num_heads 12")
        return self


class Config(Frozen):
    """A toy run."""

    out: str
    """folder to write"""
    steps: int = Field(10, gt=0, description="optimiser steps")
    colour: Literal["red", "blue"] = "red"
    fast: bool = False
    rate: float | None = None
    betas: tuple[float, float] = (0.9, 0.98)
    labels: Names = ("cat",)
    num_images: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 16
    model: Model = Model()
    optim: SGD | AdamW | Table = Field(AdamW(), discriminator="type", description="the optimiser")


def read(*args: str, default: Config | None = None) -> Config:
    return parse(Config, list(args), prog="calligram toy", default=default)


def test_defaults_stay():
    assert read("--out", "x") == Config(out="x")


def test_flags_of_every_kind():
    flags = "--out x --steps 3 --colour blue --fast --rate .5 --model.width 36 -n 2".split()
    expected = Config(out="x", steps=3, colour="blue", fast=True, rate=0.5, model=Model(width=36), num_images=2)
    assert read(*flags) == expected


def test_names_are_written_with_commas():
    assert read("--out", "x", "--labels", "cat, a red dog,").labels == ("cat", "a red dog")


@pytest.mark.parametrize(
    "flags",
    ["--optim.type sgd --optim.momentum .5 --out x", "--optim.momentum=.5 --out x --optim.type=sgd"],
)
def test_a_union_is_chosen_by_its_type_in_any_order(flags):
    assert read(*flags.split()).optim == SGD(momentum=0.5)


def test_the_default_member_needs_no_type():
    assert read("--out", "x", "--optim.second-beta", ".9").optim == AdamW(second_beta=0.9)


def test_a_member_may_require_values():
    assert read("--out", "x", "--optim.type", "table", "--optim.rows", "3").optim == Table(rows=3)


def test_flags_change_a_preset_and_keep_the_rest():
    preset = Config(out="x", steps=77, optim=SGD(momentum=0.1))
    assert read("--model.width", "12", default=preset) == Config(
        out="x", steps=77, model=Model(width=12), optim=SGD(momentum=0.1)
    )
    assert read("--optim.type", "sgd", default=preset).optim == SGD(momentum=0.1)
    assert read("--optim.type", "adamw", default=preset).optim == AdamW()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--out x --color red", "unknown flag --color; did you mean --colour?"),
        ("--out x --zzz 1", "unknown flag --zzz; `calligram toy --help` lists the flags"),
        ("--outt x", "unknown flag --outt; did you mean --out?"),
        ("--out x --steps abc", "--steps takes INT, not 'abc'; "),
        ("--out x --steps -3", "--steps -3: should be greater than 0; "),
        ("--out x --steps", "--steps needs a value: INT; "),
        ("--out x --colour green", "--colour takes red or blue, not 'green'; "),
        ("--out x --rate abc", "--rate takes None or FLOAT, not 'abc'; "),
        ("--out x --betas .9 x", "--betas takes FLOAT FLOAT, not '.9 x'; "),
        ("--out x -n abc", "-n/--num-images takes INT, not 'abc'; "),
        ("--out x stray", "unexpected 'stray'; "),
        ("--steps 3", "missing: --out STR; "),
        ("--out x --model.width 13", "width 13 is not divisible by num_heads 12; "),
        ("--out x --optim.type sdg", "--optim.type takes sgd, adamw or table, not 'sdg'"),
        ("--out x --optim.momentum .5", "--optim.momentum needs --optim.type sgd; "),
        ("--out x --optim.momentun .5", "unknown flag --optim.momentun; did you mean --optim.momentum?"),
        ("--out x --optim.type sgd --optim.momentum 3", "--optim.momentum 3.0: should be less than 1; "),
        ("--out x --optim.type table", "missing: --optim.rows INT; "),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_is_wrong_is_one_line(flags, line, encoding, monkeypatch, capsys):
    """On a narrow terminal as well, and with both kinds of boxes that tyro draws."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    with pytest.raises(UserError) as caught:
        read(*flags.split())
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert sys.stdout.tell() == 0
    assert capsys.readouterr().err == ""


def test_help_shows_units_defaults_and_what_can_be_chosen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as stop:
        read("--optim.type", "sgd", "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "usage: calligram toy" in text
    assert "A toy run." in text
    assert "folder to write (required)" in text
    assert "optimiser steps (default: 10)" in text
    assert "--optim.type takes sgd, adamw or table" in text
    assert "share of the last step that is kept (no unit) (default: 0.9)" in text
    assert "second-beta" not in text


def test_a_long_help_is_understood_too():
    """tyro lays it out in columns where there is room."""
    fields: dict[str, Any] = {f"group{group}": (Model, Model()) for group in range(70)}
    with pytest.raises(UserError, match=r"^--group69.width takes INT, not 'x'"):
        parse(create_model("Many", **fields), ["--group69.width", "x"], prog="calligram toy")


class NoDefault(Frozen):
    loss: SGD | AdamW = Field(discriminator="type")


def test_a_union_without_default_has_to_be_chosen():
    with pytest.raises(UserError, match=r"missing: --loss\.type takes sgd or adamw"):
        parse(NoDefault, [], prog="calligram toy")
    assert parse(NoDefault, ["--loss.type", "sgd"], prog="calligram toy") == NoDefault(loss=SGD())


def add(left: int, right: int = 1) -> int:
    """Adds.

    Args:
        left: the first number (units)
    """
    if left < 0:
        raise UserError(f"left {left} is negative")
    print("adding")
    return left + right


def test_functions_have_flags_too(capsys):
    assert parse(add, ["--left", "2"], prog="calligram add") == 3
    assert capsys.readouterr().out == "adding\n"
    with pytest.raises(UserError, match="left -2 is negative"):
        parse(add, ["--left", "-2"], prog="calligram add")
    with pytest.raises(UserError, match="missing: --left INT"):
        parse(add, [], prog="calligram add")
    with pytest.raises(SystemExit):
        parse(add, ["--help"], prog="calligram add")
    assert "the first number (units) (required)" in capsys.readouterr().out


def test_a_place_is_a_path_or_a_url_in_full():
    config = parse(DataConfig, ["--shards", "http://a//b", "--mix", "x/y", "s3://c/d"], prog="calligram")
    assert config.shards == "http://a//b" and config.mix == (Path("x/y"), "s3://c/d")
