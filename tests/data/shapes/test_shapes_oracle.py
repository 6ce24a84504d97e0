"""The oracle reads drawings back, also blurred ones; the judge tells true captions from false ones."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from calligram.data.shapes.claims import Claims, ObjectClaims
from calligram.data.shapes.draw import draw
from calligram.data.shapes.judge import all_right, satisfies
from calligram.data.shapes.oracle import FoundScene, read_picture
from calligram.data.shapes.scene import (
    COLOURS,
    OPPOSITE,
    PALETTE,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
    place_of,
    relation_of,
)
from calligram.data.sources.shapes import ShapesSource

SOURCE = ShapesSource()
GREY = (220, 220, 215)
NUM_CLEAN, NUM_BLURRED = 500, 150


def scene_of(sample) -> Scene:
    return Scene.model_validate(sample.meta["scene"])


def is_exact(found: FoundScene, scene: Scene) -> bool:
    """Whether all objects are found, with shape, colour and size, where they are, and in the right relation."""
    if len(found.objects) != len(scene.objects):
        return False
    pairs = [
        (min(found.objects, key=lambda seen, each=each: np.hypot(seen.x - each.x, seen.y - each.y)), each)
        for each in scene.objects
    ]
    if len({id(seen) for seen, _ in pairs}) < len(pairs):
        return False
    same = all((seen.shape, seen.colour, seen.size) == (each.shape, each.colour, each.size) for seen, each in pairs)
    near = all(np.hypot(seen.x - each.x, seen.y - each.y) < 0.02 for seen, each in pairs)
    if len(pairs) == 1:
        return same and near and place_of(pairs[0][0].x, pairs[0][0].y) == place_of(pairs[0][1].x, pairs[0][1].y)
    (seen, each), (other_seen, other) = pairs[:2]
    relation = relation_of(seen.x, seen.y, other_seen.x, other_seen.y)
    return same and near and (len(pairs) > 2 or relation == relation_of(each.x, each.y, other.x, other.y))


def share_exact(splits, number, spoil=lambda picture, rng: picture) -> float:
    rng = np.random.default_rng(0)
    samples = [SOURCE.sample(split, index) for split in splits for index in range(number // len(splits))]
    return float(np.mean([is_exact(read_picture(spoil(sample.image, rng)), scene_of(sample)) for sample in samples]))


def blurred(radius, noise=0.0, quality=None):
    """What a decoder might do: blur, noise, and the blocks and bleeding colours of JPEG."""

    def spoil(picture, rng):
        pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), float)
        pixels = pixels + rng.normal(0, noise, pixels.shape)
        picture = Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))
        if quality is None:
            return picture
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return spoil


def test_clean_drawings_are_read_exactly():
    assert share_exact(("train", "holdout"), NUM_CLEAN) >= 0.99


@pytest.mark.parametrize(
    "spoil",
    [blurred(1.0), blurred(1.0, noise=4), blurred(1.5, noise=4), blurred(1.0, noise=4, quality=75)],
    ids=["blur 1", "blur 1, noise", "blur 1.5, noise", "blur 1, noise, jpeg"],
)
def test_blurred_drawings_are_read_too(spoil):
    assert share_exact(("test",), NUM_BLURRED, spoil) >= 0.95


def test_larger_pictures_are_read_as_well():
    source = ShapesSource(image_size=128)
    samples = [source.sample("test", index) for index in range(60)]
    assert all(is_exact(read_picture(sample.image), scene_of(sample)) for sample in samples)


def test_specks_are_ignored():
    rng = np.random.default_rng(0)
    for index in range(30):
        sample = SOURCE.sample("test", index)
        pixels = np.array(sample.image)
        scene = scene_of(sample)
        for _ in range(6):
            x, y = rng.integers(0, 61, 2)
            if all(np.hypot(x / 64 - each.x, y / 64 - each.y) > each.radius + 0.1 for each in scene.objects):
                pixels[y : y + 3, x : x + 3] = PALETTE[COLOURS[rng.integers(len(COLOURS))]]
        assert is_exact(read_picture(pixels), scene)


def test_touching_objects_of_different_colours_are_told_apart():
    circle = SceneObject(shape="circle", colour="red", size="large", x=0.3, y=0.5, radius=0.18)
    square = SceneObject(shape="square", colour="blue", size="large", x=0.3 + 0.18 + 0.14, y=0.5, radius=0.2)
    scene = Scene(background=GREY, objects=(circle, square))
    assert is_exact(read_picture(draw(scene)), scene)


@pytest.mark.parametrize("strange", ["half a disc", "a bar", "two discs in one"])
def test_what_is_none_of_the_shapes_has_no_shape(strange):
    picture = Image.new("RGB", (64, 64), GREY)
    pen = ImageDraw.Draw(picture)
    if strange == "half a disc":
        pen.pieslice((16, 16, 48, 48), 0, 180, fill=PALETTE["red"])
    elif strange == "a bar":
        pen.rectangle((8, 26, 56, 36), fill=PALETTE["red"])
    else:
        pen.ellipse((8, 20, 34, 46), fill=PALETTE["red"])
        pen.ellipse((30, 20, 56, 46), fill=PALETTE["red"])
    (found,) = read_picture(picture).objects
    assert found.shape is None
    assert not any(all_right(read_picture(picture), Claims(objects=(ObjectClaims(shape=shape),))) for shape in SHAPES)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_picture_has_no_objects(level):
    assert read_picture(np.full((64, 64, 3), level, np.uint8)).objects == ()


def test_noise_satisfies_no_caption():
    rng = np.random.default_rng(0)
    claims = [
        Claims.model_validate(said) for index in range(30) for said in SOURCE.sample("test", index).meta["claims"]
    ]
    for pixels in (1, 4, 8):
        blocks = rng.integers(0, 256, (64 // pixels, 64 // pixels, 3), np.uint8)
        found = read_picture(blocks.repeat(pixels, 0).repeat(pixels, 1))
        assert not any(all_right(found, each) for each in claims)


@pytest.mark.parametrize(
    "pixels", [np.zeros((64, 64), np.uint8), np.zeros((64, 48, 3), np.uint8), np.zeros((64, 64, 3))]
)
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(ValueError, match=r"shape \(64"):
        read_picture(pixels)


def other_than(value, values):
    return values[(values.index(value) + 1) % len(values)]


def falsified(claims: Claims) -> list[tuple[str, Claims]]:
    """The claims with one thing changed at a time, and the key under which this is judged."""
    first, rest = claims.objects[0], claims.objects[1:]
    wrong = [("shape", {"shape": other_than(first.shape, SHAPES)})]
    if first.colour:
        wrong.append(("color", {"colour": other_than(first.colour, COLOURS)}))
    if first.size:
        wrong.append(("size", {"size": other_than(first.size, SIZES)}))
    changed = [
        (key, claims.model_copy(update={"objects": (first.model_copy(update=change), *rest)})) for key, change in wrong
    ]
    if claims.count:
        changed.append(("count", claims.model_copy(update={"count": claims.count + 1})))
    if claims.place:
        changed.append(("place", claims.model_copy(update={"place": "left" if claims.place != "left" else "right"})))
    if claims.relation:
        changed.append(("relation", claims.model_copy(update={"relation": OPPOSITE[claims.relation]})))
    if len(claims.objects) == 2:
        changed.append(("objects", Claims(objects=claims.objects[:1])))
    elif not claims.count:
        changed.append(("objects", Claims(objects=(first, first))))
    return changed


def test_true_captions_hold_and_false_ones_do_not():
    keys = set()
    for index in range(90):
        sample = SOURCE.sample("test", index)
        found = read_picture(sample.image)
        for said in sample.meta["claims"]:
            claims = Claims.model_validate(said)
            assert all_right(found, claims)
            for key, wrong in falsified(claims):
                keys.add(key)
                assert not all_right(found, wrong), (key, wrong)
                assert not all_right(scene_of(sample), wrong), (key, wrong)
    assert keys == {"shape", "color", "size", "count", "place", "relation", "objects"}


def test_each_fault_is_named():
    star = SceneObject(shape="star", colour="red", size="small", x=0.2, y=0.2, radius=0.11)
    ring = SceneObject(shape="ring", colour="blue", size="large", x=0.7, y=0.25, radius=0.18)
    scene = Scene(background=GREY, objects=(star, ring))
    said = (ObjectClaims(shape="star", colour="red", size="small"), ObjectClaims(shape="ring", colour="green"))
    truths = {"objects": True, "shape": True, "color": False, "size": True, "relation": True}
    assert satisfies(scene, Claims(objects=said, relation="left of")) == truths
    assert satisfies(scene, Claims(objects=said[:1], place="top left")) == {
        "objects": False,
        "shape": True,
        "color": True,
        "size": True,
        "place": True,
    }
    assert satisfies(scene, Claims(objects=(ObjectClaims(shape="star"),), count=1)) == {
        "objects": False,
        "count": True,
        "shape": False,
    }
    nothing = Scene(background=GREY, objects=())
    assert satisfies(nothing, Claims(objects=said[:1])) == dict.fromkeys(("objects", "shape", "color", "size"), False)
    assert not any(satisfies(nothing, Claims(objects=said[:1], count=2)).values())


def test_either_order_of_two_objects_will_do():
    one, two = ObjectClaims(shape="star", colour="red"), ObjectClaims(shape="star", colour="blue")
    left = SceneObject(shape="star", colour="red", size="small", x=0.2, y=0.5, radius=0.11)
    right = left.model_copy(update={"colour": "blue", "x": 0.7})
    scene = Scene(background=GREY, objects=(right, left))
    assert all_right(scene, Claims(objects=(one, two), relation="left of"))
    assert all_right(scene, Claims(objects=(two, one), relation="right of"))
    assert not all_right(scene, Claims(objects=(one, two), relation="right of"))
    swapped = Scene(background=GREY, objects=(left.model_copy(update={"colour": "blue"}), right))
    assert not all_right(swapped, Claims(objects=(one, two)))
