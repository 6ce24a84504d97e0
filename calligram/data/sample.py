"""One picture and what is said about it."""

from dataclasses import dataclass, field
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Sample:
    """A captioned picture on its way into a shard.

    ``image`` is either a picture, which is written as PNG, or the bytes of an encoded file, which
    are kept as they are under ``extension``. ``captions[0]`` becomes the ``.txt`` member; all
    captions and ``meta`` go into the ``.json`` member, and so do ``negatives``: none, or for each
    caption one that resembles it and is false of the picture.
    """

    key: str  # letters, digits, "-" and "_" only: a dot would end the key in a WebDataset shard
    image: Image.Image | bytes
    captions: tuple[str, ...]
    meta: dict[str, Any] = field(default_factory=dict)
    extension: str = "png"
    negatives: tuple[str, ...] = ()
