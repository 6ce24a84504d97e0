"""Few-shot classification (arXiv 2103.00020, figure 6): a linear classifier that saw a few pictures of each class.

# N pictures to learn from, B pictures to ask about
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calligram.data.manifest import Manifest
from calligram.eval.estimate import mean
from calligram.eval.probe import few_shots, fit
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.eval.train_features import can_learn, lesson
from calligram.progress import track

SHOTS = (1, 2, 4, 8, 16)
C = 100.0  # of unit vectors; so few pictures leave none to choose it by


class FewShot(EvalTask):
    """Accuracy after 1, 2, 4, 8 and 16 pictures a class, the mean over several draws of them.

    The interval is that of the pictures asked about, each with its share of right answers over the draws;
    ``…_shot_spread`` is the standard deviation of the accuracy from draw to draw.
    """

    name = "few-shot"
    needs = ("clip",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return can_learn(data, config)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.clip is not None
        found = lesson(models.clip, data, config, config.max_probe_classes)
        if found is None:
            return
        most = int(np.bincount(found.train_N).max())
        # beyond what the largest class has, more shots are the same pictures
        for shots in track([each for each in SHOTS if each <= most], "few-shot"):
            hits = []
            for draw in range(config.num_draws):
                rows = few_shots(found.train_N, shots, np.random.default_rng([config.seed, shots, draw]))
                guess_B = fit(found.train_NE[rows], found.train_N[rows], C).predict(found.test_BE)
                hits.append(guess_B == found.test_B)
            yield f"clip.few_shot.{shots}_shot_top1", mean(np.mean(hits, 0))
            yield f"clip.few_shot.{shots}_shot_spread", float(np.mean(hits, 1).std())
        yield "clip.few_shot.num_draws", config.num_draws
        yield "clip.few_shot.num_classes", len(set(found.train_N.tolist()))
        yield "clip.few_shot.num_samples", len(found.test_B)
