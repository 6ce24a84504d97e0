"""The source ``shapes``: drawings of simple shapes that are made on the spot, with everything known about them."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from calligram.data.sample import Sample
from calligram.data.shapes.caption import random_captions
from calligram.data.shapes.compose import random_scene
from calligram.data.shapes.draw import draw
from calligram.data.shapes.negatives import false_caption
from calligram.data.shapes.scene import CLASSES, KINDS
from calligram.data.source import Source
from calligram.errors import UserError

CLASS_INDEX = {pair: index for index, pair in enumerate(CLASSES)}


class ShapesSource(Source):
    """One object in a place, two objects in a relation, and two to four of a kind, in equal thirds.

    Six pairs of colour and shape are never in ``train`` and ``test``; every ``holdout`` picture has one of them.
    """

    name: ClassVar[str] = "shapes"
    licence: ClassVar[str] = "CC0-1.0"

    num_samples: int = Field(default=20000, ge=1)  # in train
    num_test: int = Field(default=1200, ge=0)
    num_holdout: int = Field(default=600, ge=0)
    image_size: int = Field(default=64, ge=64)  # pixels
    seed: int = Field(default=0, ge=0)

    def splits(self) -> dict[str, int]:
        """Number of samples in train, test and holdout."""
        return {"train": self.num_samples, "test": self.num_test, "holdout": self.num_holdout}

    def sample(self, split: str, index: int) -> Sample:
        """The ``index``-th drawing with four captions; ``meta`` has the scene, the captions' claims and the kind.

        For each caption there is one that is false in one respect.
        """
        rng = self._generator(split, index)
        kind, holdout = KINDS[index % len(KINDS)], split == "holdout"
        scene = random_scene(rng, kind, holdout)
        captions = random_captions(rng, scene, kind)
        meta = {
            "scene": scene.model_dump(mode="json"),
            "claims": [claims.to_json() for _, claims in captions],
            "kind": kind,
        }
        if kind == "one-object":
            meta["class"] = CLASS_INDEX[scene.objects[0].colour, scene.objects[0].shape]
        return Sample(
            key=f"{split}-{index:07d}",
            image=draw(scene, self.image_size),
            captions=tuple(caption for caption, _ in captions),
            negatives=tuple(false_caption(rng, scene, *each, holdout)[0] for each in captions),
            meta=meta,
        )

    def class_names(self) -> list[str]:
        """The 48 pairs of a colour and a shape, the held-out ones among them."""
        return [f"{colour} {shape}" for colour, shape in CLASSES]

    def templates(self) -> list[str]:
        """As captions say it."""
        return ["a {}", "there is a {}", "a picture of a {}"]

    def _generator(self, split: str, index: int) -> np.random.Generator:
        sizes = self.splits()
        if split not in sizes:
            raise UserError(f"no split {split!r} in shapes: choose one of {', '.join(sizes)}")
        if not 0 <= index < sizes[split]:
            raise UserError(f"no sample {index} in the split {split!r} of {sizes[split]}: give 0 to {sizes[split] - 1}")
        return np.random.default_rng([self.seed, list(sizes).index(split), index])
