"""Hard negatives: false, nearly true, and never of a held-out pair in training."""

import numpy as np
import pytest

from calligram.data.shapes.caption import phrasings, random_captions
from calligram.data.shapes.claims import Claims, ObjectClaims
from calligram.data.shapes.compose import random_scene
from calligram.data.shapes.judge import all_right
from calligram.data.shapes.negatives import false_caption
from calligram.data.shapes.scene import HOLDOUT_CLASSES, KINDS, OPPOSITE, Scene, SceneObject
from calligram.data.sources.shapes import ShapesSource


def drawn(number=600, holdout=False):
    """(scene, caption, claims, false caption, its claims) of random scenes of all kinds."""
    for i in range(number):
        rng = np.random.default_rng([i, holdout])
        kind = KINDS[i % len(KINDS)]
        scene = random_scene(rng, kind, holdout)
        for caption, claims in random_captions(rng, scene, kind):
            yield scene, caption, claims, *false_caption(rng, scene, caption, claims, holdout)


def leaves(claims: Claims) -> list:
    """All that is said, in order."""
    said = [value for each in claims.objects for value in (each.shape, each.colour, each.size)]
    return [*said, claims.count, claims.place, claims.relation]


@pytest.mark.parametrize("holdout", [False, True])
def test_negatives_are_false_and_say_what_they_claim(holdout):
    for scene, caption, claims, wrong, wrong_claims in drawn(holdout=holdout):
        assert all_right(scene, claims) and not all_right(scene, wrong_claims)
        assert wrong != caption and wrong in phrasings(wrong_claims)


def test_one_respect_differs_and_nothing_more_is_said():
    for _, _, claims, _, wrong in drawn():
        before, after = leaves(claims), leaves(wrong)
        differing = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        assert all((a is None) == (b is None) for a, b in differing) or sorted(map(str, before)) == sorted(
            map(str, after)
        )
        exchanged = len(differing) == 2 and set(differing) == {differing[0], differing[0][::-1]}
        assert len(differing) == 1 or exchanged, (claims, wrong)


def test_relations_are_reversed_and_looks_exchanged_elsewhere():
    exchanged = 0
    for _, _, claims, _, wrong in drawn():
        if claims.relation:
            assert wrong == claims.model_copy(update={"relation": OPPOSITE[claims.relation]})
        elif len(claims.objects) == 2:
            exchanged += sorted(map(str, leaves(claims))) == sorted(map(str, leaves(wrong)))
    assert exchanged > 100


def test_held_out_pairs_are_named_in_their_own_split_alone():
    def pairs(holdout):
        return {(e.colour, e.shape) for *_, wrong in drawn(holdout=holdout) for e in wrong.objects}

    assert not pairs(False) & set(HOLDOUT_CLASSES)
    assert pairs(True) & set(HOLDOUT_CLASSES)


def test_with_nothing_but_a_shape_the_shape_is_another():
    circle = SceneObject(shape="circle", colour="red", size="small", x=0.5, y=0.5, radius=0.11)
    scene = Scene(background=(230, 230, 230), objects=(circle,))
    claims = Claims(objects=(ObjectClaims(shape="circle"),))
    seen = {false_caption(np.random.default_rng(i), scene, "there is a circle", claims)[0] for i in range(60)}
    assert seen == {f"there is a {shape}" for shape in ("square", "triangle", "star", "cross", "ring")}


def test_samples_have_a_negative_for_each_caption():
    source = ShapesSource(num_samples=30)
    for i in range(30):
        sample = source.sample("train", i)
        assert len(sample.negatives) == len(sample.captions)
        assert not set(sample.negatives) & set(sample.captions)
    assert source.sample("train", 4) == source.sample("train", 4)
