"""Changed captions are false and of their kind; pairs belong together one way only; Winoground's scores are its own."""

import numpy as np
import pytest
import torch

from calligram.data.shapes.claims import Claims
from calligram.data.shapes.judge import all_right
from calligram.data.shapes.negatives import changes_by_kind, say_alike
from calligram.data.shapes.scene import Scene
from calligram.data.sources.shapes import ShapesSource
from calligram.eval.swaps import Relatives, swaps
from calligram.eval.tasks.winoground import verdicts
from calligram.eval.twins import twins

NAMES = ["red heart", "blue heart", "heart", "man singer", "woman singer", "dog"]


@pytest.fixture(scope="module")
def drawings() -> list[tuple[tuple[str, ...], dict]]:
    source = ShapesSource(num_samples=1, num_test=150, num_holdout=0)
    samples = [source.sample("test", number) for number in range(150)]
    return [(sample.captions, sample.meta) for sample in samples]


def claims_of(caption, captions, meta) -> Claims:
    return Claims.model_validate(meta["claims"][captions.index(caption)])


def test_changed_captions_of_drawings_are_false(drawings):
    seen = set()
    for row, (captions, meta) in enumerate(drawings):
        scene = Scene.model_validate(meta["scene"])
        for each in swaps(captions, meta, Relatives([], []), np.random.default_rng(row)):
            claims = claims_of(each.right, captions, meta)
            false = [
                changed
                for changed in changes_by_kind(claims)[each.kind]
                if say_alike(each.right, claims, changed) == each.wrong
            ]
            assert all_right(scene, claims) and false and not any(all_right(scene, changed) for changed in false)
            assert each.right != each.wrong
            seen.add(each.kind)
    assert seen == {
        "swap_colour",
        "swap_size",
        "reverse_relation",
        "replace_object",
        "replace_colour",
        "change_count",
    }


def test_a_swap_keeps_the_words(drawings):
    asked = [
        each
        for row, told in enumerate(drawings)
        for each in swaps(*told, Relatives([], []), np.random.default_rng(row))
        if each.kind == "swap_colour"
    ]
    assert asked and all(sorted(each.right.split()) == sorted(each.wrong.split()) for each in asked)


def relatives():
    groups = ["hearts", "hearts", "hearts", "people", "people", "animals"]
    return Relatives(NAMES, [{"class": number, "subgroup": group} for number, group in enumerate(groups)])


def ask(number, captions=None):
    said = captions or (f"{NAMES[number]}, twitter style", NAMES[number])
    found = swaps(said, {"class": number}, relatives(), np.random.default_rng(0))
    return {each.kind: each for each in found}


def test_names_and_their_colours_are_replaced():
    found = ask(0)
    assert found["replace_name"].right == "red heart, twitter style"
    assert found["replace_name"].wrong in ("blue heart, twitter style", "heart, twitter style")
    wrong = found["replace_colour"].wrong
    assert wrong.endswith(" heart, twitter style") and not wrong.startswith("red")
    assert ask(3)["replace_name"].wrong == "woman singer, twitter style" and "replace_colour" not in ask(3)


def test_what_has_no_relative_or_no_name_in_its_caption_is_not_asked_about():
    assert ask(5) == {}
    assert ask(0, ("something else",)) == {}
    assert ask(0, ("a tired heart",)) == {}  # "red heart" is in it, though not as words


def test_pairs_of_drawings_belong_together_one_way(drawings):
    found = twins(drawings, [])
    for each in found:
        for place in (0, 1):
            scene = Scene.model_validate(drawings[each.rows[place]][1]["scene"])
            assert describes(each.captions[place], scene) and not describes(each.captions[1 - place], scene)
    assert {each.kind for each in found} >= {"relation"}
    for kind in ("relation", "colours"):
        rows = [row for each in found if each.kind == kind for row in each.rows]
        assert len(set(rows)) == len(rows)
    assert all(sorted(each.captions[0].split()) == sorted(each.captions[1].split()) for each in found)


def describes(caption: str, scene: Scene) -> bool:
    """By the words alone: "a [colour] shape left of a [colour] shape"."""
    relation = next((each for each in ("left of", "above") if each in caption), None)
    said = caption.replace(f" {relation} ", " and ").split(" and ")
    first, second = ([word for word in each.split() if word != "a"] for each in said)
    objects = [{"shape": each[-1], **({"colour": each[0]} if len(each) == 2 else {})} for each in (first, second)]
    facts = {"objects": objects, **({"relation": relation} if relation else {})}
    return all_right(scene, Claims.model_validate(facts))


def test_colours_that_change_places_make_a_pair():
    def drawing(first, second):
        place = {"size": "small", "radius": 0.11, "y": 0.5}
        objects = [
            {"shape": "ring", "colour": first, "x": 0.2, **place},
            {"shape": "star", "colour": second, "x": 0.8, **place},
        ]
        return ("",), {"scene": {"background": [230, 230, 230], "objects": objects}}

    found = twins([drawing("red", "blue"), drawing("red", "pink"), drawing("blue", "red")], [])
    assert [(each.kind, each.rows) for each in found] == [("colours", (0, 2))]
    assert found[0].captions == ("a red ring and a blue star", "a blue ring and a red star")


def test_names_that_differ_in_a_word_make_a_pair():
    words = [((name,), {"class": number}) for number, name in enumerate(NAMES)]
    found = twins(words, NAMES)
    assert [(each.rows, each.captions) for each in found] == [
        ((0, 1), ("red heart", "blue heart")),
        ((3, 4), ("man singer", "woman singer")),
    ]


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ([[2, 1], [1, 2]], (True, True, True)),
        ([[2, 1], [3, 4]], (True, False, False)),  # the second picture is nearer to the first caption than its own is
        ([[2, 3], [1, 4]], (False, True, False)),
        ([[1, 2], [2, 1]], (False, False, False)),
        ([[1, 1], [1, 1]], (False, False, False)),
    ],
)
def test_winogrounds_scores(score, expected):
    found = verdicts(torch.tensor([score], dtype=torch.float))
    assert tuple(bool(found[name]) for name in ("text", "image", "group")) == expected


def test_a_guess_reaches_what_winoground_says():
    found = verdicts(torch.randn(20_000, 2, 2, generator=torch.Generator().manual_seed(0)))
    for name, share in (("text", 1 / 4), ("image", 1 / 4), ("group", 1 / 6)):
        assert float(found[name].float().mean()) == pytest.approx(share, abs=0.015)
