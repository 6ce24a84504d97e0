"""Zero-shot recognition of everything that is in a picture, where it may have several classes or none.

As CLIP_benchmark does it for VOC 2007: a class's name ranks all pictures, and the mean average precision says how well.

# B pictures, C classes
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from calligram.data.manifest import Manifest
from calligram.errors import UserError
from calligram.eval.classification import average_precision
from calligram.eval.features import embed_classes, embed_rows, read_all_words
from calligram.eval.task import EvalConfig, EvalTask, Models, Value, has_classes


class MultiLabel(EvalTask):
    """Mean average precision over the classes that any picture has.

    A picture's JSON says ``classes``, a list of numbers; of a drawing of shapes its scene says them.
    """

    name = "multi-label"
    needs = ("clip",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return has_classes(data, config)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        clip = models.clip
        assert clip is not None
        manifest = Manifest.load(data)
        words = read_all_words(clip, data, config.split, config.max_samples)
        told = {row: told_classes(meta, manifest.class_names) for row, (_, meta) in enumerate(words)}
        classes_of = {row: classes for row, classes in told.items() if classes is not None}
        right_BC = right_classes(classes_of, len(manifest.class_names))
        if not right_BC.any():
            return
        image_BE = embed_rows(clip, data, config.split, list(classes_of)).image_BE.cpu().float()
        score_BC = image_BE @ embed_classes(clip, manifest).T
        yield "clip.multi_label.mean_average_precision", average_precision(score_BC, right_BC)
        yield "clip.multi_label.num_classes", int(right_BC.any(0).sum())
        yield "clip.multi_label.num_samples", len(right_BC)


def told_classes(meta: dict[str, Any], names: Sequence[str]) -> list[int] | None:
    """What is known to be in a picture; None where that is not known."""
    if "classes" in meta:
        return meta["classes"]
    objects = meta.get("scene", {}).get("objects", ())
    said = [f"{each['colour']} {each['shape']}" for each in objects]
    return [names.index(each) for each in said] if said and set(said) <= set(names) else None


def right_classes(classes_of: dict[int, list[int]], num_classes: int) -> torch.Tensor:
    """bool (B, C). Raises UserError for what is not a list of classes that have a name."""
    right_BC = torch.zeros(len(classes_of), num_classes, dtype=torch.bool)
    for place, (row, classes) in enumerate(classes_of.items()):
        is_list = isinstance(classes, list)
        if not is_list or not all(isinstance(each, int) and 0 <= each < num_classes for each in classes):
            raise UserError(
                f"sample {row} has classes {classes!r}: give a list of numbers from 0 to {num_classes - 1}, as the "
                f"manifest's class_names are counted"
            )
        right_BC[place, classes] = True
    return right_BC
