"""Nearest neighbours (arXiv 2104.14294): a picture's class by the votes of the training pictures that are most like it.

# N pictures that are known, B pictures to ask about
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from calligram.data.manifest import Manifest
from calligram.eval.classification import accuracies
from calligram.eval.neighbours import neighbour_scores
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.eval.train_features import can_learn, lesson


class Knn(EvalTask):
    """Accuracy by the 20 nearest, weighted as DINO does. Nothing is fitted and nothing chosen."""

    name = "knn"
    needs = ("clip",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return can_learn(data, config)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.clip is not None
        found = lesson(models.clip, data, config)
        if found is None:
            return
        train_NE, train_N, test_BE, test_B = (torch.from_numpy(each) for each in found)
        number = int(max(train_N.max(), test_B.max())) + 1
        for name, value in accuracies(neighbour_scores(train_NE, train_N, test_BE, number), test_B):
            yield f"clip.knn.{name}", value
        yield "clip.knn.num_train_samples", len(train_N)
        yield "clip.knn.num_samples", len(test_B)
