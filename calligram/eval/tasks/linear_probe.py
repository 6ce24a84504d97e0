"""Linear probe (arXiv 2103.00020, appendix A.3): how well can a linear classifier tell classes by the model's features?

# N pictures to learn from, B pictures to ask about
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calligram.data.manifest import Manifest
from calligram.eval.estimate import mean
from calligram.eval.probe import choose_c, fit
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.eval.train_features import can_learn, lesson


class LinearProbe(EvalTask):
    """Accuracy of scikit-learn's logistic regression; a fifth of the training pictures chooses C, all are fitted."""

    name = "linear-probe"
    needs = ("clip",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return can_learn(data, config)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.clip is not None
        found = lesson(models.clip, data, config, config.max_probe_classes)
        if found is None:
            return
        c = choose_c(found.train_NE, found.train_N)
        guess_B = fit(found.train_NE, found.train_N, c).predict(found.test_BE)
        yield "clip.linear_probe.top1", mean(np.equal(guess_B, found.test_B))
        yield "clip.linear_probe.c", c
        yield "clip.linear_probe.num_classes", len(set(found.train_N.tolist()))
        yield "clip.linear_probe.num_train_samples", len(found.train_N)
        yield "clip.linear_probe.num_samples", len(found.test_B)
