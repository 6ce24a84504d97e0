"""Are drawings like real pictures, and do they show all that these show? Two figures, where FID is one."""

from collections.abc import Iterator
from pathlib import Path

import torch

from calligram.eval.distances.manifold import precision_recall
from calligram.eval.drawings import spread
from calligram.eval.sets import drawn_and_real
from calligram.eval.task import EvalConfig, EvalTask, Models, Value


class PrecisionRecall(EvalTask):
    """Precision and recall (arXiv 1904.06991), density and coverage (arXiv 2002.09797).

    Of as many real pictures as drawings, since the balls shrink as a set grows.
    """

    name = "precision-recall"
    needs = ("dalle", "space")

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.dalle is not None and models.space is not None
        drawn, real = drawn_and_real(models.space, models.dalle, data, config)
        count = min(len(drawn), len(real))
        if count < 2:
            return
        drawn, real = (x[torch.tensor(spread(len(x), count))] for x in (drawn, real))
        for name, value in precision_recall(drawn, real).items():
            yield f"dalle.{name}_{models.space.name}", value
