"""The source ``shapes``: pure, split as promised, and true in every caption."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from calligram.data.shapes.caption import phrasings
from calligram.data.shapes.claims import Claims, ObjectClaims, category
from calligram.data.shapes.compose import random_scene
from calligram.data.shapes.judge import all_right
from calligram.data.shapes.scene import (
    CLASSES,
    HOLDOUT_CLASSES,
    KINDS,
    PALETTE,
    PLACE_THRESHOLDS,
    PLACES,
    RADII,
    RELATIONS,
    Scene,
    place_of,
    relation_of,
)
from calligram.data.sources.shapes import ShapesSource
from calligram.errors import UserError

SOURCE = ShapesSource(num_samples=2000)
NUM_SAMPLES = 300

MARGIN, GAP = 0.04, 0.05  # of the picture: what objects keep from the frame and from each other


@pytest.fixture(scope="module")
def samples():
    return {split: [SOURCE.sample(split, index) for index in range(NUM_SAMPLES)] for split in SOURCE.splits()}


def scenes(samples):
    return [Scene.model_validate(sample.meta["scene"]) for sample in samples]


def classes(scene):
    return {(each.colour, each.shape) for each in scene.objects}


def test_a_sample_depends_on_config_split_and_index_alone(samples):
    again = ShapesSource(num_samples=50, num_test=NUM_SAMPLES)  # other numbers of samples, other order
    for index in (49, 7):
        sample, twin = samples["train"][index], again.sample("train", index)
        assert (twin.key, twin.captions, twin.meta) == (sample.key, sample.captions, sample.meta)
        assert twin.image.tobytes() == sample.image.tobytes()
    assert samples["train"][0].meta != samples["test"][0].meta
    assert samples["train"][0].meta != ShapesSource(seed=1).sample("train", 0).meta
    assert len({str(sample.meta["scene"]) for sample in samples["train"]}) == NUM_SAMPLES


def test_pictures_have_the_size_asked_for_and_show_the_same_scene():
    small, large = SOURCE.sample("test", 5), ShapesSource(image_size=96).sample("test", 5)
    assert (small.image.size, large.image.size) == ((64, 64), (96, 96))
    assert small.meta == large.meta
    reduced = np.asarray(large.image.resize((64, 64)), float)
    assert np.abs(reduced - np.asarray(small.image, float)).mean() < 3


def test_kinds_come_in_equal_thirds(samples):
    for split in samples.values():
        assert set(Counter(sample.meta["kind"] for sample in split).values()) == {NUM_SAMPLES // 3}
    for sample, scene in zip(samples["train"], scenes(samples["train"]), strict=True):
        numbers = {"one-object": {1}, "two-object": {2}, "counting": {2, 3, 4}}
        assert len(scene.objects) in numbers[sample.meta["kind"]]
        assert len(classes(scene)) == (2 if sample.meta["kind"] == "two-object" else 1)


def test_held_out_classes_are_kept_apart(samples):
    for split in ("train", "test"):
        assert not set.union(*map(classes, scenes(samples[split]))) & set(HOLDOUT_CLASSES)
    assert all(classes(scene) & set(HOLDOUT_CLASSES) for scene in scenes(samples["holdout"]))
    assert set.union(*map(classes, scenes(samples["holdout"]))) >= set(HOLDOUT_CLASSES)
    assert len({shape for _, shape in HOLDOUT_CLASSES}) == len({colour for colour, _ in HOLDOUT_CLASSES}) == 6


def test_the_class_is_an_index_into_the_class_names(samples):
    names = SOURCE.class_names()
    assert len(set(names)) == len(CLASSES) == 48
    for sample in samples["test"]:
        assert ("class" in sample.meta) == (sample.meta["kind"] == "one-object")
        if "class" in sample.meta:
            shown = sample.meta["scene"]["objects"][0]
            assert names[sample.meta["class"]] == f"{shown['colour']} {shown['shape']}"


def test_every_caption_is_true_and_distinct(samples):
    for split in samples.values():
        for sample, scene in zip(split, scenes(split), strict=True):
            assert len(set(sample.captions)) == len(sample.captions) == len(sample.meta["claims"]) == 4
            for caption, said in zip(sample.captions, sample.meta["claims"], strict=True):
                claims = Claims.model_validate(said)
                assert caption in phrasings(claims)
                assert all_right(scene, claims), (caption, scene)


def test_the_first_caption_names_colours_and_captions_are_short(samples):
    words = set()
    for sample in samples["train"]:
        assert all("colour" in each for each in sample.meta["claims"][0]["objects"])
        for caption in sample.captions:
            assert len(caption.split()) <= 14
            words.update(caption.split())
    assert len(words) <= 80


def test_captions_cover_every_category_place_and_relation(samples):
    told = [Claims.model_validate(said) for sample in samples["train"] for said in sample.meta["claims"]]
    categories = Counter(category(claims) for claims in told)
    everything = {"single object", "two object", "counting", "colors", "position", "attribute binding"}
    assert set(categories) == everything
    assert min(categories.values()) > 0.02 * len(told)
    assert {claims.place for claims in told} == {None, *PLACES}
    assert {claims.relation for claims in told} == {None, *RELATIONS}
    assert {claims.count for claims in told} == {None, 2, 3, 4}


def test_plain_captions_are_common(samples):
    captions = Counter(caption for sample in samples["train"] for caption in sample.captions)
    plain = {f"a {name}" for name in SOURCE.class_names()}
    assert sum(captions[caption] for caption in plain) > 0.03 * captions.total()


def test_two_objects_of_one_shape_are_told_apart_by_colour(samples):
    for sample in samples["train"]:
        for said in sample.meta["claims"]:
            if len({each["shape"] for each in said["objects"]}) < len(said["objects"]):
                assert all("colour" in each for each in said["objects"])


def test_categories():
    circle, red_star = ObjectClaims(shape="circle"), ObjectClaims(shape="star", colour="red")
    assert category(Claims(objects=(circle,))) == "single object"
    assert category(Claims(objects=(red_star,))) == "colors"
    assert category(Claims(objects=(red_star,), place="top")) == "position"
    assert category(Claims(objects=(circle, red_star), relation="above")) == "position"
    assert category(Claims(objects=(circle, circle))) == "two object"
    assert category(Claims(objects=(red_star, red_star))) == "attribute binding"
    assert category(Claims(objects=(red_star,), count=3)) == "counting"


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        (Claims(objects=(ObjectClaims(shape="circle", colour="red"),)), "a red circle"),
        (Claims(objects=(ObjectClaims(shape="cross", size="small"),), count=2), "two small crosses"),
        (Claims(objects=(ObjectClaims(shape="ring"),), place="top left"), "in the top left corner there is a ring"),
        (
            Claims(objects=(ObjectClaims(shape="circle"), ObjectClaims(shape="square")), relation="above"),
            "a circle above a square",
        ),
        (
            Claims(objects=(ObjectClaims(shape="circle"), ObjectClaims(shape="square")), relation="left of"),
            "a square with a circle on its left",
        ),
        (
            Claims(objects=(ObjectClaims(shape="star", colour="red"), ObjectClaims(shape="ring", colour="blue"))),
            "a red star and a blue ring",
        ),
    ],
)
def test_wording(claims, said):
    assert said in phrasings(claims)


@pytest.mark.parametrize(
    ("number", "more"),
    [(0, {}), (3, {}), (1, {"relation": "above"}), (2, {"count": 2}), (2, {"place": "top"}), (1, {"count": 0})],
)
def test_claims_that_make_no_sense_are_refused(number, more):
    with pytest.raises(ValueError, match=r"one|two|at least 1"):
        Claims(objects=(ObjectClaims(shape="circle"),) * number, **more)


def test_scenes_and_claims_survive_json(samples):
    for sample, scene in zip(samples["test"], scenes(samples["test"]), strict=True):
        assert Scene.model_validate_json(scene.model_dump_json()) == scene
        for said in sample.meta["claims"]:
            claims = Claims.model_validate(said)
            assert Claims.model_validate_json(claims.model_dump_json()) == claims


def test_objects_keep_clear_of_the_frame_and_of_each_other(samples):
    for scene in scenes([*samples["train"], *samples["holdout"]]):
        for each in scene.objects:
            assert RADII[each.size][0] - 1e-4 <= each.radius <= RADII[each.size][1] + 1e-4
            for centre in (each.x, each.y):
                assert centre - each.radius >= MARGIN - 2e-4 and centre + each.radius <= 1 - MARGIN + 2e-4
        for i, first in enumerate(scene.objects):
            for second in scene.objects[i + 1 :]:
                distance = np.hypot(first.x - second.x, first.y - second.y)
                assert distance >= first.radius + second.radius + GAP - 5e-4


def test_places_and_relations_are_never_in_doubt(samples):
    for sample, scene in zip(samples["train"], scenes(samples["train"]), strict=True):
        if sample.meta["kind"] == "one-object":
            (only,) = scene.objects
            assert min(abs(centre - line) for centre in (only.x, only.y) for line in PLACE_THRESHOLDS) > 0.045
        if sample.meta["kind"] == "two-object":
            first, second = scene.objects
            across, down = abs(first.x - second.x), abs(first.y - second.y)
            assert max(across, down) > 2 * min(across, down)


def test_places_and_relations_by_coordinates():
    assert [place_of(x, y) for y in (0.2, 0.5, 0.8) for x in (0.2, 0.5, 0.8)] == list(PLACES)
    assert relation_of(0.2, 0.5, 0.8, 0.6) == "left of"
    assert relation_of(0.8, 0.5, 0.2, 0.6) == "right of"
    assert relation_of(0.5, 0.2, 0.6, 0.8) == "above"
    assert relation_of(0.5, 0.8, 0.6, 0.2) == "below"


def test_no_background_is_mistaken_for_a_colour():
    rng = np.random.default_rng(0)
    for _ in range(200):
        background = random_scene(rng, KINDS[0]).background
        assert min(np.linalg.norm(np.subtract(background, colour)) for colour in PALETTE.values()) > 90


def test_colours_are_far_apart():
    colours = np.array(list(PALETTE.values()), float)
    distances = np.linalg.norm(colours[:, None] - colours, axis=-1)
    assert distances[~np.eye(len(colours), dtype=bool)].min() > 100


def test_every_class_and_number_turns_up(samples):
    shown = [scene for scene in scenes(samples["train"]) if len(classes(scene)) == 1]
    numbers = Counter(len(scene.objects) for scene in shown)
    assert set(numbers) == {1, 2, 3, 4}
    assert all(max(pair) < 2 * min(pair) for pair in pairwise(numbers[count] for count in (2, 3, 4)))
    assert len(set.union(*map(classes, scenes(samples["train"])))) == len(CLASSES) - len(HOLDOUT_CLASSES)


@pytest.mark.parametrize(("split", "index"), [("validation", 0), ("test", -1), ("test", 1200)])
def test_a_sample_that_does_not_exist_is_a_users_error(split, index):
    with pytest.raises(UserError, match=f"{split}|{index}"):
        SOURCE.sample(split, index)


def test_pictures_too_small_to_draw_on_are_refused():
    with pytest.raises(ValueError, match="greater than or equal to 64"):
        ShapesSource(image_size=32)
