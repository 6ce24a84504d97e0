"""The designs of emoji pictures that come as open npm packages, and how one of their files becomes a picture."""

import importlib
import importlib.util
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from PIL import Image

from calligram.data.emoji_catalogue import Thing, codepoint_key
from calligram.data.npm import part_folder, unpack
from calligram.data.picture_file import pad_to_square
from calligram.errors import UserError
from calligram.pictures import flatten

DesignName = Literal["google", "twitter", "openmoji", "fluent", "fluent-flat"]
CATALOGUE = ("openmoji", "17.0.0")  # the package whose list names the things

# Fluent's file names that are not the slug of CLDR's name
FLUENT_RENAMED = {
    "blackbird": "black-bird",
    "hugging-face": "smiling-face-with-open-hands",
    "knocked-out-face": "face-with-crossed-out-eyes",
    "pouting-face": "enraged-face",
    "phoenix-bird": "phoenix",
    "stuffedbread": "stuffed-flatbread",
    "stuffedbread-flat": "stuffed-flatbread",
    "red-triangle": "red-triangle-pointed-up",
    "man-merpeople": "merman",
    "woman-merpeople": "mermaid",
    "man-wrestling": "men-wrestling",
    "woman-wrestling": "women-wrestling",
    "person-wrestling": "people-wrestling",
    "man-with-bunny-ears": "men-with-bunny-ears",
    "woman-with-bunny-ears": "women-with-bunny-ears",
    "person-with-bunny-ears": "people-with-bunny-ears",
    "person-merpeople": "merperson",
    **{f"person-{word}": word for word in ("elf", "fairy", "genie", "mage", "vampire", "zombie")},
    **{f"person-{word}": word for word in ("superhero", "supervillain")},
    **{f"{who}-blonde-hair": f"{who}-blond-hair" for who in ("person", "man", "woman")},
    **{f"{who}-deaf": f"deaf-{who}" for who in ("person", "man", "woman")},
}


@dataclass(frozen=True)
class Design:
    """One hand's drawings of the emojis, and where in which package they lie."""

    package: str
    version: str
    folder: str  # in the tarball
    extension: str  # png or svg
    licence: str
    credit: str
    by_name: bool = False  # True where file names are slugs of the names rather than code points


DESIGNS: dict[DesignName, Design] = {
    "google": Design(
        package="emoji-datasource-google",
        version="16.0.0",
        folder="package/img/google/64",
        extension="png",
        licence="Apache-2.0",  # the pictures; only Noto's fonts are under the OFL, and its flags are public domain
        credit="Noto Emoji, Google",
    ),
    "twitter": Design(
        package="emoji-datasource-twitter",
        version="16.0.0",
        folder="package/img/twitter/64",
        extension="png",
        licence="CC-BY-4.0",
        credit="Twemoji, Twitter, Inc and other contributors",
    ),
    "openmoji": Design(
        package="openmoji",
        version="17.0.0",
        folder="package/color/svg",
        extension="svg",
        licence="CC-BY-SA-4.0",
        credit="OpenMoji, the open-source emoji and icon project",
    ),
    "fluent": Design(
        package="fluentui-emoji",
        version="1.3.0",
        folder="package/icons/modern",
        extension="svg",
        licence="MIT",
        credit="Fluent Emoji, Microsoft Corporation",
        by_name=True,
    ),
    "fluent-flat": Design(
        package="fluentui-emoji",
        version="1.3.0",
        folder="package/icons/flat",
        extension="svg",
        licence="MIT",
        credit="Fluent Emoji, Microsoft Corporation",
        by_name=True,
    ),
}
assert set(DESIGNS) == set(get_args(DesignName))


def fetch_catalogue(cache: Path) -> Path:
    """The list of emojis, fetched and unpacked if need be."""
    wanted = {"package/data/openmoji.json": "openmoji.json"}
    return unpack(*CATALOGUE, cache, "catalogue", wanted.get) / "openmoji.json"


def fetch_pictures(name: DesignName, things: tuple[Thing, ...], cache: Path) -> frozenset[str]:
    """The code points that a design draws, its pictures fetched and unpacked if need be."""
    design = DESIGNS[name]
    folder = unpack(design.package, design.version, cache, name, _placer(design, things))
    return frozenset(path.stem for path in folder.iterdir())


def picture_path(name: DesignName, thing: Thing, cache: Path) -> Path:
    """Where a picture lies once it is fetched."""
    design = DESIGNS[name]
    return part_folder(design.package, design.version, cache, name) / f"{thing.codepoint}.{design.extension}"


def draw(path: Path, size: int, background: str) -> Image.Image:
    """A design's file as an RGB square of ``size`` pixels."""
    try:
        if path.suffix == ".svg":
            rasterise = importlib.import_module("resvg_py").svg_to_bytes  # needed here only
            content = rasterise(svg_string=path.read_text("utf-8"), width=size, height=size, skip_system_fonts=True)
        else:
            content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return pad_to_square(flatten(image, background), size, background)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} cannot be drawn ({error}): delete the folder {path.parent} and try again") from error


def check_rasteriser(names: tuple[DesignName, ...]) -> None:
    """UserError where a design consists of SVG files and there is nothing to draw them with."""
    drawn = [name for name in names if DESIGNS[name].extension == "svg"]
    if drawn and importlib.util.find_spec("resvg_py") is None:
        others = " ".join(name for name in DESIGNS if name not in drawn and DESIGNS[name].extension == "png")
        raise UserError(
            f"resvg_py, which draws the SVG files of {', '.join(drawn)}, is not installed: "
            f"pip install resvg-py, or make do with --designs {others}"
        )


def _placer(design: Design, things: tuple[Thing, ...]) -> Callable[[str], str | None]:
    """Maps a path in the tarball to ``CODEPOINT.EXTENSION`` for the things, to None for all else."""
    codepoints = {thing.slug if design.by_name else thing.codepoint: thing.codepoint for thing in things}
    pattern = re.compile(re.escape(design.folder) + r"/([^/]+)\." + design.extension)

    def place(member: str) -> str | None:
        match = pattern.fullmatch(member)
        if match is None:
            return None
        codepoint = codepoints.get(_fluent_slug(match[1]) if design.by_name else codepoint_key(match[1]))
        return None if codepoint is None else f"{codepoint}.{design.extension}"

    return place


def _fluent_slug(stem: str) -> str:
    stem = stem.removesuffix("-default")  # the yellow one of six skin tones
    return FLUENT_RENAMED.get(stem, stem)
