"""Prompts: sets by name, files as others write them, descriptions; what is wrong is told in one line."""

import json

import pytest
from open_clip import zero_shot_metadata

from calligram.clip.prompts import (
    TEMPLATE_SETS,
    fill,
    find_templates,
    imagenet_names,
    make_prompts,
    read_descriptions,
    read_templates,
    template_set,
)
from calligram.errors import UserError


def test_the_published_sets_are_open_clips():
    for name, theirs in (
        ("openai-7", zero_shot_metadata.SIMPLE_IMAGENET_TEMPLATES),
        ("openai-80", zero_shot_metadata.OPENAI_IMAGENET_TEMPLATES),
    ):
        ours = [fill(template, "tench") for template in template_set(name)]
        assert ours == [template("tench") for template in theirs]
        assert len(ours) == int(name.removeprefix("openai-"))
    assert imagenet_names() == list(zero_shot_metadata.IMAGENET_CLASSNAMES)


def test_every_set_has_its_places():
    for name in TEMPLATE_SETS:
        assert all("{}" in template for template in template_set(name))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("lines.txt", "\ufeffa {}\n\n  the {c}  \n", ["a {}", "the {c}"]),
        ("zeroshot_classification_templates.txt", "a photo of {c}\n", ["a photo of {c}"]),
        ("list.json", '["a {}", "{c} there"]', ["a {}", "{c} there"]),
        ("one.json", '{"pets": ["a {c}, a pet"]}', ["a {c}, a pet"]),
        ("several.json", '{"cars": ["a car {c}"], "pets": ["a {c}, a pet"]}', ["a {c}, a pet"]),
    ],
)
def test_files_as_others_write_them(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert find_templates(str(path), "pets" if name == "several.json" else None) == expected


def test_both_kinds_of_places_and_labels_that_look_like_one():
    assert fill("a {} and {c}", "cat") == "a cat and cat"
    assert fill("a {}", "{c}") == "a {c}"
    assert fill("a {}", r"\1") == r"a \1"
    assert make_prompts(["{}", "b"], ["x {c}"]) == [["x {}"], ["x b"]]


def test_descriptions_alone_and_together_with_templates(tmp_path):
    path = tmp_path / "cupl.json"
    path.write_text(json.dumps({"cat": ["It purrs.", "It has whiskers."], "dog": ["It barks."], "more": ["x"]}))
    described = read_descriptions(path)
    assert make_prompts(["dog", "cat"], (), described) == [["It barks."], ["It purrs.", "It has whiskers."]]
    assert make_prompts(["dog", "cow"], ["a {}"], described) == [["a dog", "It barks."], ["a cow"]]
    with pytest.raises(UserError, match="no description of the label 'cow'"):
        make_prompts(["dog", "cow"], (), described)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a picture\n", "template 'a picture' has no {} where the label goes"),
        ("\n", "has no templates: write a line each"),
        ('{"a": ["{}"], "b": ["{}"]}', "has 2 data sets: name one of a, b"),
        ('{"a": 3}', "has no templates"),
        ("[1]", "has no templates"),
        ("[", "is not JSON"),
    ],
)
def test_bad_templates_are_one_line(tmp_path, text, line):
    path = tmp_path / ("x.json" if text[0] in "[{" else "x.txt")
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_templates(path)
    assert line in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_files_and_names_are_one_line(tmp_path):
    with pytest.raises(
        UserError, match=r"cannot read gone \(No such file or directory\): templates are a file or one of"
    ):
        find_templates("gone")
    with pytest.raises(UserError, match="no template set 'x': choose none, photo, openai-7 or openai-80"):
        template_set("x")
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="is not a UTF-8 text"):
        read_templates(tmp_path / "x.txt")
    (tmp_path / "x.json").write_text('{"cat": "It purrs."}')
    with pytest.raises(UserError, match=r"has no descriptions: write JSON \{label: \[sentences\]\}"):
        read_descriptions(tmp_path / "x.json")
    (tmp_path / "two.json").write_text('{"a": ["{}"], "b": ["{}"]}')
    with pytest.raises(UserError, match="has no data set 'c': name one of a, b"):
        read_templates(tmp_path / "two.json", "c")
