"""FID (arXiv 1706.08500) of what a DALL-E draws for captions, against the real pictures."""

from collections.abc import Iterator
from pathlib import Path

from calligram.eval.distances.frechet import fid
from calligram.eval.sets import drawn_and_real
from calligram.eval.task import EvalConfig, EvalTask, Models, Value


class Fid(EvalTask):
    """Lower is better. Biased upwards for few pictures: only figures of equal counts can be compared."""

    name = "fid"
    needs = ("dalle", "space")

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.dalle is not None and models.space is not None
        drawn, real = drawn_and_real(models.space, models.dalle, data, config)
        if min(len(drawn), len(real)) < 2:
            return
        name = f"dalle.fid_{models.space.name}"
        yield name, fid(drawn, real)
        yield f"{name}.num_real", len(real)
