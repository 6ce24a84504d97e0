"""The source ``fashion-mnist``: 70,000 grey pictures of clothing in ten classes, 28 × 28 pixels (arXiv 1708.07747)."""

from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from calligram.data.idx import read_idx
from calligram.data.lookup import look_up
from calligram.data.sample import Sample
from calligram.data.source import Source
from calligram.errors import UserError

# where Debian's package puts the files, then where a person may have put them
DEFAULT_ROOTS = (Path("/usr/share/datasets/fashion-mnist"), Path("downloads/fashion-mnist"), Path("downloads"))
FILE_PREFIXES = {"train": "train", "test": "t10k"}
CLASS_NAMES = (
    "t-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
# "the" suits all ten: "a trousers" and "a ankle boot" would be wrong
TEMPLATES = ("a photo of the {}", "{}", "a grey photo of the {}", "a picture from a catalogue: {}", "the {}, on black")


class FashionMnistSource(Source):
    """Every picture has the same five captions as others of its class; the first is "a photo of the …"."""

    name: ClassVar[str] = "fashion-mnist"
    licence: ClassVar[str] = "MIT"  # © 2017 Zalando SE

    root: Path | None = None  # folder with the four IDX files; else the places where they usually are
    image_size: int = Field(default=28, ge=8)  # pixels; pictures are scaled where it is not 28

    def splits(self) -> dict[str, int]:
        """60,000 in train and 10,000 in test, once all four files are checked."""
        folder = self._folder()
        return {split: len(load_split(folder, split)[1]) for split in FILE_PREFIXES}

    def sample(self, split: str, index: int) -> Sample:
        """The ``index``-th picture in the files' order; ``meta`` has the class and its name."""
        look_up({name: range(size) for name, size in self.splits().items()}, split, index)
        images, labels = load_split(self._folder(), split)
        label = int(labels[index])
        image = Image.fromarray(images[index]).convert("RGB")
        if image.size != (self.image_size, self.image_size):
            image = image.resize((self.image_size, self.image_size), Image.Resampling.LANCZOS)
        return Sample(
            key=f"{split}-{index:05d}",
            image=image,
            captions=tuple(template.format(CLASS_NAMES[label]) for template in TEMPLATES),
            meta={"class": label, "name": CLASS_NAMES[label]},
        )

    def class_names(self) -> list[str]:
        """The ten kinds of clothing."""
        return list(CLASS_NAMES)

    def templates(self) -> list[str]:
        """The captions' own."""
        return list(TEMPLATES)

    def _folder(self) -> Path:
        roots = DEFAULT_ROOTS if self.root is None else (self.root,)
        for root in roots:
            if _find(root, "train", "labels-idx1") is not None:
                return root
        places = ", ".join(map(str, roots))
        raise UserError(
            f"no Fashion-MNIST files (train-labels-idx1-ubyte.gz and three more) in {places}: "
            "give their folder as --root, or on Debian: apt-get install dataset-fashion-mnist"
        )


def is_there(folder: Path) -> bool:
    """Whether all four files are in a folder."""
    kinds = ("images-idx3", "labels-idx1")
    return all(_find(folder, split, kind) is not None for split in FILE_PREFIXES for kind in kinds)


@lru_cache(maxsize=8)
def load_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, (num_images, height, width), and labels, (num_images,), of a split, checked against each other."""
    images_path, labels_path = _file(folder, split, "images-idx3"), _file(folder, split, "labels-idx1")
    images, labels = read_idx(images_path, num_dimensions=3), read_idx(labels_path, num_dimensions=1)
    if len(images) != len(labels) or len(images) == 0:
        raise UserError(
            f"{images_path} has {len(images)} pictures, {labels_path} {len(labels)} labels: fetch both anew"
        )
    if images[0].size == 0:
        raise UserError(f"{images_path} has pictures of {images.shape[1]} × {images.shape[2]} pixels: fetch it again")
    if labels.max() >= len(CLASS_NAMES):
        raise UserError(f"{labels_path} has the label {labels.max()}, but there are only 0 to 9: fetch it again")
    return images, labels


def _file(folder: Path, split: str, kind: str) -> Path:
    path = _find(folder, split, kind)
    if path is None:
        raise UserError(f"{folder} has no {FILE_PREFIXES[split]}-{kind}-ubyte or .gz: all four files belong there")
    return path


def _find(folder: Path, split: str, kind: str) -> Path | None:
    for suffix in ("", ".gz"):
        path = folder / f"{FILE_PREFIXES[split]}-{kind}-ubyte{suffix}"
        if path.is_file():
            return path
    return None
