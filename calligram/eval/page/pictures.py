"""The pictures of the cells, side by side by model."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from calligram.eval.page.metrics import describe
from calligram.eval.page.schema import Cell
from calligram.eval.report_parts import Picture, Pictures

TITLES = {"confusion": "confusion matrix", "nearest": "drawings beside their nearest training pictures"}


def picture_blocks(cells: Sequence[Cell], folder: Path) -> Iterator[Pictures]:
    """A row for each kind of picture; of those that cannot be read it is told."""
    for name in dict.fromkeys(name for cell in cells for name in cell.pictures):
        read = {cell.model: _read(folder, cell.pictures[name]) for cell in cells if name in cell.pictures}
        missing = [model for model, image in read.items() if image is None]
        yield Pictures(
            title(name),
            [Picture(image, model) for model, image in read.items() if image is not None],
            f"The picture of {', '.join(missing)} is missing or damaged." if missing else "",
        )


def title(name: str) -> str:
    """``clip.zero_shot.holdout_confusion`` → "Confusion matrix, held out"."""
    words = describe(name).title
    for key, phrase in TITLES.items():
        words = re.sub(rf"\b{key}\b", phrase, words, flags=re.IGNORECASE)
    return words[:1].upper() + words[1:]


def _read(folder: Path, path: str) -> Image.Image | None:
    """None for what is no picture, or lies elsewhere: a page shows nothing from outside its evaluation."""
    place = (folder / path).resolve()
    if not place.is_relative_to(folder.resolve()):
        return None
    try:
        with Image.open(place) as image:
            image.load()
            return image
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
