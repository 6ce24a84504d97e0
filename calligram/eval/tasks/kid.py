"""KID (arXiv 1801.01401) of what a DALL-E draws for captions, against the real pictures."""

from collections.abc import Iterator
from pathlib import Path

from calligram.eval.distances.kid import kid
from calligram.eval.sets import drawn_and_real
from calligram.eval.task import EvalConfig, EvalTask, Models, Value


class Kid(EvalTask):
    """Lower is better; 0 on average for two sets of one source, so that it may come out below. Unbiased."""

    name = "kid"
    needs = ("dalle", "space")

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.dalle is not None and models.space is not None
        drawn, real = drawn_and_real(models.space, models.dalle, data, config)
        if min(len(drawn), len(real)) >= 4:  # two halves of two
            yield f"dalle.kid_{models.space.name}", kid(drawn, real)
