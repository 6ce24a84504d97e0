"""LPIPS (arXiv 1801.03924) of reconstructions, where VGG-16's weights are at hand.

# B pictures
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.eval.drawings import spread
from calligram.eval.estimate import mean
from calligram.eval.sets import read
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.nn.image import to_float
from calligram.tokenizers.lpips import load_lpips_of_each


class Lpips(EvalTask):
    """Mean perceptual distance of a picture and its reconstruction; lower is better. ``lpips`` names the weights."""

    name = "lpips"
    needs = ("tokenizer",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return config.lpips is not None and config.split in data.splits

    @torch.inference_mode()
    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        tokenizer = models.tokenizer
        assert tokenizer is not None and config.lpips is not None
        device = next(tokenizer.parameters()).device
        distance = load_lpips_of_each(Path(config.lpips), device)
        shards = Shards(data, config.split)
        numbers = spread(len(shards), config.num_reference)
        found = []
        for images_uint8 in read(shards, numbers, tokenizer.config.image_size, "compare pictures"):
            images = to_float(images_uint8).to(device)
            found.append(distance(tokenizer.decode(tokenizer.encode(images)).clamp(0, 1), images).cpu())
        yield "tokenizer.lpips_vgg", mean(torch.cat(found))
