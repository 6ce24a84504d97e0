"""Models of runs and of others as they are needed, one system's at a time in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from calligram.clip.zero_shot import ClipPipeline, load_clip
from calligram.dalle.draw import load_dalle
from calligram.errors import UserError
from calligram.eval.soundness import check_clip
from calligram.eval.spaces import ClipSpace, load_space
from calligram.eval.systems import Places
from calligram.eval.task import Kind, Models
from calligram.tokenizers.run import load_tokenizer

LOADERS: dict[str, Callable[..., Any]] = {"clip": load_clip, "tokenizer": load_tokenizer, "dalle": load_dalle}


class Loader:
    """Loads each model once, for as long as systems that have it follow each other."""

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = device
        self._kept: dict[tuple[Kind, str], Any] = {}
        self._problems: dict[tuple[Kind, str], UserError] = {}  # of models that are not to be tried again

    def models(self, places: Places, keep: Places) -> Models:
        """Those of ``places``; of what is loaded already, only what is in ``keep`` stays."""
        self._kept = {item: model for item, model in self._kept.items() if item in keep.items()}
        return Models(**{kind: self._load(kind, place) for kind, place in places.items()})

    def clip(self, place: str) -> ClipPipeline:
        return self._load("clip", place)

    def _load(self, kind: Kind, place: str) -> Any:
        if (kind, place) in self._problems:
            raise self._problems[kind, place]
        if (kind, place) not in self._kept:
            try:
                self._kept[kind, place] = load(kind, place, self.device)
            except UserError as error:
                self._problems[kind, place] = error
                raise
        return self._kept[kind, place]


def load(kind: str, place: Path | str, device: torch.device | str = "cpu") -> Any:
    """A model, of which a CLIP has been found sound."""
    if kind == "space":
        space = load_space(str(place), device)
        if isinstance(space, ClipSpace):
            check_clip(space.clip, str(place))
        return space
    model = LOADERS[kind](place, device)
    if kind == "clip":
        check_clip(model, str(place))
    return model
