import importlib.util
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydantic import ValidationError

from calligram.data.emoji_catalogue import clean_name, slug
from calligram.data.emoji_design import DESIGNS
from calligram.data.npm import unpack
from calligram.data.sources.emoji import EmojiSource
from calligram.errors import UserError

needs_resvg = pytest.mark.skipif(importlib.util.find_spec("resvg_py") is None, reason="the extra emoji: resvg_py")


def row(hexcode: str, annotation: str, group: str, tags: str = "", skintone: str = "") -> dict[str, object]:
    return {
        "hexcode": hexcode,
        "annotation": annotation,
        "group": group,
        "subgroups": f"some-{group}",
        "tags": tags,
        "openmoji_tags": "smile, happy" if hexcode == "1F600" else "",
        "skintone": skintone,
    }


CATALOGUE = [
    row("1F600", "grinning face", "smileys-emotion", "face, grin, teeth, ✓"),
    row("0023-FE0F-20E3", "keycap: #", "symbols"),
    row("1F1F2-1F1FD", "flag: Mexico", "flags", "MX, flag"),
    row("1F44B", "waving hand", "people-body", "hello"),
    row("1F44B-1F3FB", "waving hand: light skin tone", "people-body", skintone="1"),
    row("1F6D8", "landslide", "travel-places"),  # drawn by openmoji alone
    row("1F917", "smiling face with open hands", "smileys-emotion"),
    row("E090", "first aid", "extras-openmoji"),
    row("1F3FB", "light skin tone", "component"),
]
COLOURS = {"google": "red", "twitter": "blue", "openmoji": "lime", "fluent": "yellow", "fluent-flat": "cyan"}


def png(colour: str, mode: str = "RGBA", size: tuple[int, int] = (64, 64)) -> bytes:
    """A disc that touches the edges, transparent around it."""
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=colour)
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def svg(colour: str) -> bytes:
    disc = f'<circle cx="16" cy="16" r="16" fill="{colour}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{disc}</svg>'.encode()


def write_tarball(cache: Path, package: str, version: str, files: dict[str, bytes]) -> Path:
    path = cache / f"{package}-{version}.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The four packages in small, laid out as the real ones are."""
    for design in ("google", "twitter"):
        stems = ["1f600", "0023-fe0f-20e3", "1f1f2-1f1fd", "1f44b", "1f44b-1f3fb", "1f917"]
        files = {f"img/{design}/64/{stem}.png": png(COLOURS[design]) for stem in stems}
        files |= {f"img/{design}/sheets/64.png": png("black"), "emoji.json": b"[]", "package.json": b"{}"}
        write_tarball(tmp_path, f"emoji-datasource-{design}", "16.0.0", files)
    stems = ["1F600", "0023-FE0F-20E3", "1F1F2-1F1FD", "1F44B", "1F44B-1F3FB", "1F6D8", "1F917", "E090", "1F3FB"]
    files = {f"color/svg/{stem}.svg": svg(COLOURS["openmoji"]) for stem in stems}
    files |= {f"black/svg/{stem}.svg": svg("black") for stem in stems}
    files["data/openmoji.json"] = json.dumps(CATALOGUE).encode()
    write_tarball(tmp_path, "openmoji", "17.0.0", files)
    stems = ["grinning-face", "waving-hand-default", "waving-hand-light", "hugging-face"]
    files = {f"icons/modern/{stem}.svg": svg(COLOURS["fluent"]) for stem in stems}
    files |= {f"icons/flat/{stem}.svg": svg(COLOURS["fluent-flat"]) for stem in stems}
    write_tarball(tmp_path, "fluentui-emoji", "1.3.0", files)
    return tmp_path


def png_source(cache: Path, **options: object) -> EmojiSource:
    return EmojiSource.model_validate({"designs": ("google", "twitter"), "cache": cache, **options})


@needs_resvg
def test_train_has_all_designs_but_the_held_out_one(cache):
    source = EmojiSource(cache=cache)
    assert source.splits() == {"train": 5 + 6 + 3 + 3, "test": 5}
    train = [source.sample("train", i) for i in range(17)]
    test = [source.sample("test", i) for i in range(5)]
    assert {sample.meta["design"] for sample in train} == {"google", "openmoji", "fluent", "fluent-flat"}
    assert {sample.meta["design"] for sample in test} == {"twitter"}
    assert {sample.meta["name"] for sample in test} <= {sample.meta["name"] for sample in train}
    assert len({sample.key for sample in train + test}) == 22


@needs_resvg
def test_every_picture_is_its_designs_drawing_on_white(cache):
    source = EmojiSource(cache=cache)
    for index in range(17):
        sample = source.sample("train", index)
        image = np.asarray(sample.image)
        assert image.shape == (64, 64, 3)
        assert tuple(image[32, 32]) == tuple(np.asarray(Image.new("RGB", (1, 1), COLOURS[sample.meta["design"]]))[0, 0])
        assert (image[0, 0] == 255).all()


@needs_resvg
def test_an_edge_is_blended_whatever_the_design_is_drawn_in(cache):
    source = EmojiSource(cache=cache, image_size=48)
    for index in range(17):
        sample = source.sample("train", index)
        assert sample.image.size == (48, 48)
        assert len(np.unique(np.asarray(sample.image).reshape(-1, 3), axis=0)) > 8, sample.key


@needs_resvg
def test_classes_are_the_union_without_variants_and_extras(cache):
    names = EmojiSource(cache=cache).class_names()
    assert names == [
        "grinning face",
        "keycap #",
        "flag of mexico",
        "waving hand",
        "landslide",
        "smiling face with open hands",
    ]


@needs_resvg
def test_a_broken_svg_is_named(cache):
    files = {"color/svg/1F600.svg": b"<svg", "data/openmoji.json": json.dumps(CATALOGUE).encode()}
    write_tarball(cache, "openmoji", "17.0.0", files)
    source = EmojiSource(cache=cache, designs=("openmoji",), holdout_design="none")
    with pytest.raises(UserError, match=r"1f600.svg cannot be drawn"):
        source.sample("train", 0)


def test_the_test_has_no_thing_that_training_lacks(cache):
    write_tarball(cache, "emoji-datasource-google", "16.0.0", {"img/google/64/1f600.png": png("red")})
    source = png_source(cache)
    assert source.splits() == {"train": 1, "test": 1}
    assert source.class_names() == ["grinning face"]


def test_meta_and_class_agree(cache):
    source = png_source(cache)
    for split, size in source.splits().items():
        for index in range(size):
            meta = source.sample(split, index).meta
            assert source.class_names()[meta["class"]] == meta["name"]
            assert meta["licence"] == DESIGNS[meta["design"]].licence
    flag = next(m for i in range(5) if (m := source.sample("test", i).meta)["name"] == "flag of mexico")
    assert (flag["codepoint"], flag["group"], flag["subgroup"]) == ("1f1f2-1f1fd", "flags", "some-flags")


def captions_of(source: EmojiSource, name: str) -> tuple[str, ...]:
    samples = (source.sample("train", index) for index in range(source.splits()["train"]))
    return next(sample.captions for sample in samples if sample.meta["name"] == name)


def test_captions_have_the_style_the_name_and_what_else_is_known(cache):
    source = png_source(cache)
    assert captions_of(source, "grinning face") == (
        "grinning face, google style",
        "grinning face",
        "grinning face emoji",
        "grinning face emoji in google style",
        "grinning face, smile, happy, grin",  # "face" is in the name, "✓" is no word
        "grinning face, teeth",
    )
    assert captions_of(source, "flag of mexico")[-1] == "flag of mexico emoji in google style"  # no ", mx"


def test_templates_make_the_captions(cache):
    source = png_source(cache)
    said = {template.format("waving hand") for template in source.templates()}
    assert said <= set(captions_of(source, "waving hand"))


def test_nothing_held_out(cache):
    assert png_source(cache, holdout_design="none").splits() == {"train": 10}


@pytest.mark.parametrize(
    "options",
    [
        {"designs": ("google",), "holdout_design": "google"},
        {"designs": ("google",)},
        {"designs": ("google", "google", "twitter")},
        {"designs": ()},
        {"designs": ("apple", "twitter")},
        {"background": "whitish"},
    ],
)
def test_choices_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError):
        EmojiSource.model_validate(options)


def test_grey_and_palette_pictures_on_another_background_and_not_square(cache):
    files = {
        "img/google/64/1f600.png": png("white", "LA"),
        "img/google/64/1f44b.png": png("white", "P"),
        "img/google/64/1f917.png": png("white", size=(64, 32)),
    }
    write_tarball(cache, "emoji-datasource-google", "16.0.0", files)
    source = png_source(cache, background="#102030")
    for index in range(3):
        image = np.asarray(source.sample("train", index).image)
        assert image.shape == (64, 64, 3)
        assert tuple(image[0, 0]) == (0x10, 0x20, 0x30)
        assert tuple(image[32, 32]) == (255, 255, 255)


def test_order_is_mixed_and_the_same_after_pickling(cache):
    source = png_source(cache)
    again = pickle.loads(pickle.dumps(source))  # noqa: S301  what a process pool does
    fresh = png_source(cache)
    order = [source.sample("train", index) for index in range(5)]
    assert [again.sample("train", index) for index in range(5)] == order
    assert [fresh.sample("train", index) for index in range(5)] == order
    classes = [sample.meta["class"] for sample in order]
    assert classes != sorted(classes)


def test_a_tarball_is_not_needed_once_it_is_unpacked(cache, monkeypatch):
    expected = png_source(cache).splits()
    monkeypatch.setenv("PATH", "")
    for path in cache.glob("*.tgz"):
        path.unlink()
    assert png_source(cache).splits() == expected


def test_a_cut_tarball_is_named_and_leaves_nothing_behind(cache):
    path = cache / "emoji-datasource-google-16.0.0.tgz"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-4], b"<html>not found</html>", b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"emoji-datasource-google-16.0.0.tgz"):
            png_source(cache).splits()
        assert not any((cache / "emoji-datasource-google-16.0.0").iterdir())
    path.write_bytes(whole)
    assert png_source(cache).splits() == {"train": 5, "test": 5}


def test_a_tarball_of_something_else_is_refused(cache):
    write_tarball(cache, "emoji-datasource-google", "16.0.0", {"index.js": b"0"})
    with pytest.raises(UserError, match="holds no files for 'google'"):
        png_source(cache).splits()


def test_a_tarball_cannot_write_outside_its_folder(cache):
    write_tarball(cache, "openmoji", "17.0.0", {"a": b"x"})
    unpack("openmoji", "17.0.0", cache, "part", lambda member: "../../../escaped")
    assert [path.name for path in (cache / "openmoji-17.0.0" / "part").iterdir()] == ["escaped"]
    assert not list(cache.parent.glob("escaped"))


def test_a_damaged_list_of_emojis_is_named(cache):
    write_tarball(cache, "openmoji", "17.0.0", {"data/openmoji.json": b'[{"hexcode": "1F600"}]'})
    with pytest.raises(UserError, match=r"openmoji.json"):
        png_source(cache).splits()


def test_without_npm_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"npm.*not installed.*openmoji-17.0.0.tgz into .* by hand"):
        EmojiSource(designs=("google", "twitter"), cache=tmp_path).splits()


def fake_npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_failing_npm_is_quoted(tmp_path, monkeypatch):
    fake_npm(tmp_path / "bin", "echo npm error network is down >&2; exit 1", monkeypatch)
    with pytest.raises(UserError, match=r"npm pack openmoji@17.0.0 failed \(npm error network is down\)"):
        EmojiSource(designs=("google", "twitter"), cache=tmp_path / "cache").splits()
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_npm_packs_is_used(cache, tmp_path, monkeypatch):
    """npm is called as: npm pack NAME@VERSION --loglevel=error --pack-destination FOLDER."""
    script = f'cp "{cache}/$(echo "$2" | tr @ -).tgz" "$5"'
    fake_npm(tmp_path / "bin", script, monkeypatch)
    fetched = tmp_path / "fetched"
    assert png_source(fetched).splits() == {"train": 5, "test": 5}
    assert (fetched / "openmoji-17.0.0.tgz").read_bytes() == (cache / "openmoji-17.0.0.tgz").read_bytes()


def test_without_the_rasteriser_its_package_is_named(cache, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "resvg_py" else real(name, *rest)
    )
    with pytest.raises(
        UserError, match=r"openmoji, fluent, fluent-flat.*pip install resvg-py.*--designs google twitter"
    ):
        EmojiSource(cache=cache).splits()
    assert png_source(cache).splits() == {"train": 5, "test": 5}


@pytest.mark.parametrize(
    ("annotation", "name", "key"),
    [
        ("woman’s hat", "woman's hat", "womans-hat"),
        ("Japanese “reserved” button", "japanese reserved button", "japanese-reserved-button"),
        ("flag: Côte d’Ivoire", "flag of côte d'ivoire", "flag-cote-divoire"),
        ("kiss: woman, man", "kiss, woman, man", "kiss-woman-man"),
        ("piñata", "piñata", "pinata"),
        ("keycap: 10", "keycap 10", "keycap-10"),
    ],
)
def test_names_as_text_and_as_file_names(annotation, name, key):
    assert clean_name(annotation) == name
    assert slug(annotation) == key


@pytest.mark.slow
@needs_resvg
@pytest.mark.skipif(
    not all(Path("downloads", f"{d.package}-{d.version}.tgz").is_file() for d in DESIGNS.values()),
    reason="the packages are not in downloads/",
)
def test_the_real_packages():
    source = EmojiSource()
    assert source.splits() == {"train": 7006, "test": 1906}
    assert len(set(source.class_names())) == 1914
    for index in range(0, 7006, 100):
        sample = source.sample("train", index)
        assert np.asarray(sample.image).std() > 1, sample.key
