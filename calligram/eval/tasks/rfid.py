"""rFID: how far the set of reconstructions is from the set of pictures, in a named space (arXiv 1706.08500)."""

from collections.abc import Iterator
from pathlib import Path

import torch

from calligram.data.dataset import Shards
from calligram.eval.distances.frechet import fid
from calligram.eval.sets import read, real
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.nn.image import to_float, to_uint8


class RFid(EvalTask):
    """FID of the pictures after the way through their tokens against the same pictures; lower is better."""

    name = "rfid"
    needs = ("tokenizer", "space")

    @torch.inference_mode()
    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        tokenizer, space = models.tokenizer, models.space
        assert tokenizer is not None and space is not None
        device, size = next(tokenizer.parameters()).device, tokenizer.config.image_size
        theirs = real(space, data, config.split, size, config.num_reference)
        if len(theirs) < 2:
            return
        ours = []
        for images in read(Shards(data, config.split), theirs.numbers, size, "reconstruct pictures"):
            rebuilt = tokenizer.decode(tokenizer.encode(to_float(images).to(device)))
            ours.append(space.embed(to_uint8(rebuilt).cpu()))
        yield f"tokenizer.rfid_{space.name}", fid(torch.cat(ours), theirs.feature_BD)
