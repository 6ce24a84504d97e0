"""CMMD (arXiv 2401.09603) of what a DALL-E draws for captions, against the real pictures."""

from collections.abc import Iterator
from pathlib import Path

from calligram.eval.distances.cmmd import cmmd
from calligram.eval.sets import drawn_and_real
from calligram.eval.task import EvalConfig, EvalTask, Models, Value


class Cmmd(EvalTask):
    """Lower is better. No normal distribution is assumed; the paper's figures are in CLIP ViT-L/14 at 336 pixels."""

    name = "cmmd"
    needs = ("dalle", "space")

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.dalle is not None and models.space is not None
        drawn, real = drawn_and_real(models.space, models.dalle, data, config)
        yield f"dalle.cmmd_{models.space.name}", cmmd(drawn, real)
