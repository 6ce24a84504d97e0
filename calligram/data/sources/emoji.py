"""The source ``emoji``: the same 1,900 things drawn by several hands, one of which is kept for the test."""

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Literal, Self

from PIL import ImageColor
from pydantic import Field, field_validator, model_validator

from calligram.data.emoji_catalogue import Thing, load_catalogue
from calligram.data.emoji_design import (
    DESIGNS,
    DesignName,
    check_rasteriser,
    draw,
    fetch_catalogue,
    fetch_pictures,
    picture_path,
)
from calligram.data.lookup import look_up
from calligram.data.sample import Sample
from calligram.data.source import Source


class EmojiSource(Source):
    """``train`` has all designs but the held-out one; ``test`` has that one's drawings of the same things.

    The packages are fetched with npm on first use, or lie in the cache already. There are no skin-tone variants.
    Fluent's two designs share their outlines: with one held out and the other in train, the test is an easy one.
    """

    name: ClassVar[str] = "emoji"
    licence: ClassVar[str] = "; ".join(
        f"{name}: {design.licence} ({design.credit})" for name, design in DESIGNS.items()
    )

    designs: tuple[DesignName, ...] = tuple(DESIGNS)
    holdout_design: DesignName | Literal["none"] = "twitter"
    image_size: int = Field(default=64, ge=8)  # pixels; the PNG designs have 64, the SVG designs any number
    background: str = "white"  # a colour's name or #rrggbb
    cache: Path = Path("downloads")  # where tarballs are put or found

    @field_validator("background")
    @classmethod
    def _is_colour(cls, value: str) -> str:
        ImageColor.getrgb(value)  # ValueError names the value
        return value

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if len(set(self.designs)) != len(self.designs) or not self.training_designs():
            raise ValueError(f"designs {self.designs}: give each once, and at least one besides the holdout_design")
        if self.holdout_design != "none" and self.holdout_design not in self.designs:
            chosen = ", ".join(self.designs)
            raise ValueError(f"holdout_design {self.holdout_design!r} is not among designs {chosen}: or give 'none'")
        return self

    def training_designs(self) -> tuple[DesignName, ...]:
        """All designs but the held-out one."""
        return tuple(design for design in self.designs if design != self.holdout_design)

    def splits(self) -> dict[str, int]:
        """Number of drawings in train and test; no test where nothing is held out."""
        return {split: len(entries) for split, entries in self.entries.items()}

    def sample(self, split: str, index: int) -> Sample:
        """A drawing with up to six captions; ``meta`` has its thing, design, groups, class and licence."""
        design, number = look_up(self.entries, split, index)
        thing = self.things[number]
        return Sample(
            key=f"{design}-{thing.codepoint}",
            image=draw(picture_path(design, thing, self.cache), self.image_size, self.background),
            captions=captions(thing, design),
            meta={
                "class": number,
                "name": thing.name,
                "design": design,
                "codepoint": thing.codepoint,
                "group": thing.group,
                "subgroup": thing.subgroup,
                "licence": DESIGNS[design].licence,
            },
        )

    def class_names(self) -> list[str]:
        """Every thing that a training design draws, in Unicode's order."""
        return [thing.name for thing in self.things]

    def templates(self) -> list[str]:
        """The captions' own, among them the style of every design that is trained on."""
        styles = [f"{{}}, {_style(design)} style" for design in self.training_designs()]
        return [*styles, "{}", "{} emoji"]

    @cached_property
    def things(self) -> tuple[Thing, ...]:
        """The classes: what at least one training design draws."""
        seen = set[str]().union(*(self._drawn[design] for design in self.training_designs()))
        return tuple(thing for thing in self._catalogue if thing.codepoint in seen)

    @cached_property
    def entries(self) -> dict[str, list[tuple[DesignName, int]]]:
        """Each split's drawings as (design, class), in an order that is mixed and always the same."""
        splits = {"train": self.training_designs()}
        if self.holdout_design != "none":
            splits["test"] = (self.holdout_design,)
        return {split: self._entries(designs) for split, designs in splits.items()}

    def _entries(self, designs: tuple[DesignName, ...]) -> list[tuple[DesignName, int]]:
        pairs: list[tuple[DesignName, int]] = [
            (design, number)
            for design in designs
            for number, thing in enumerate(self.things)
            if thing.codepoint in self._drawn[design]
        ]
        # mixed, since a shard in the catalogue's order would hold nothing but flags
        return sorted(pairs, key=lambda pair: sha256(f"{pair[0]} {self.things[pair[1]].codepoint}".encode()).digest())

    @cached_property
    def _drawn(self) -> dict[DesignName, frozenset[str]]:
        """The code points that each design draws."""
        check_rasteriser(self.designs)  # before the long download
        return {design: fetch_pictures(design, self._catalogue, self.cache) for design in self.designs}

    @property
    def _catalogue(self) -> tuple[Thing, ...]:
        return load_catalogue(fetch_catalogue(self.cache))


def captions(thing: Thing, design: DesignName) -> tuple[str, ...]:
    """From "grinning face, google style" over the bare name to its keywords, three at a time."""
    style = _style(design)
    said = [f"{thing.name}, {style} style", thing.name, f"{thing.name} emoji", f"{thing.name} emoji in {style} style"]
    if thing.keywords:
        said.append(", ".join([thing.name, *thing.keywords[:3]]))
    if len(thing.keywords) > 3:
        said.append(", ".join([thing.name, *thing.keywords[3:6]]))
    return tuple(said)


def _style(design: DesignName) -> str:
    return design.replace("-", " ")
