"""Zero-shot accuracy on damaged pictures (arXiv 1903.12261) and on pictures of fewer pixels.

# B pictures, C classes
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from calligram.clip.zero_shot import ClipPipeline
from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.eval.corruptions import CORRUPTIONS, RESOLUTIONS, SEVERITIES, shrink
from calligram.eval.estimate import mean
from calligram.eval.features import embed_classes, first_classed, read_sample
from calligram.eval.task import EvalConfig, EvalTask, Models, Value, has_classes
from calligram.pictures import square, upright
from calligram.progress import track

Damage = Callable[[Image.Image, int], Image.Image]  # of a picture and its number


class Robustness(EvalTask):
    """Top-1 accuracy under each kind and severity, of the same pictures undamaged, and the mean over all damage.

    Pictures are damaged at the size at which the model reads them, whole ones where it reads those.
    """

    name = "robustness"
    needs = ("clip",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return has_classes(data, config)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        clip = models.clip
        assert clip is not None
        number = min(config.num_corrupted, config.max_samples)
        class_of = first_classed(clip, data, config.split, number)
        if not class_of:
            return
        class_B = torch.tensor(list(class_of.values()))
        label_CE = embed_classes(clip, Manifest.load(data))
        images = read_images(clip, Shards(data, config.split), list(class_of))
        corrupted = []
        for name, damage in track(list(damages(config.seed).items()), "damage pictures"):
            hit_B = (embed_damaged(clip, images, damage, len(class_B)) @ label_CE.T).argmax(1) == class_B
            yield f"clip.robustness.{name}_top1", mean(hit_B)
            if "severity" in name:
                corrupted.append(hit_B.double())
        yield "clip.robustness.corrupted_top1", mean(torch.stack(corrupted).mean(0))
        yield "clip.robustness.num_samples", len(class_B)


def damages(seed: int) -> dict[str, Damage]:
    """What is done to pictures, by name; every picture has noise of its own, the same in each run."""

    def corrupt(kind: str, severity: int, image: Image.Image, row: int) -> Image.Image:
        return CORRUPTIONS[kind](image, severity, np.random.default_rng([seed, severity, row]))

    found: dict[str, Damage] = {"clean": lambda image, row: image}
    for kind in CORRUPTIONS:
        for severity in SEVERITIES:
            found[f"{kind}_severity_{severity}"] = partial(corrupt, kind, severity)
    for times in RESOLUTIONS:
        found[f"resolution_1_{times}"] = lambda image, row, times=times: shrink(image, times)
    return found


def read_images(clip: ClipPipeline, shards: Shards, rows: list[int]) -> list[tuple[int, Image.Image]]:
    """(number, picture) of this process's share of the pictures."""
    config = clip.model.config
    found = []
    for row in clip.spread.share(rows):
        image = upright(read_sample(shards, row, ((), {})).image())
        found.append((row, image if config.preprocess.is_native else square(image, config.image_size)))
    return found


def embed_damaged(clip: ClipPipeline, images: list[tuple[int, Image.Image]], damage: Damage, number: int) -> Tensor:
    """(B, E) on the CPU, of all processes' ``number`` pictures in their order."""
    vector_BE = clip.embed_prepared([clip.prepare(damage(image, row)) for row, image in images])
    return clip.spread.in_order(vector_BE, number).cpu().float()
