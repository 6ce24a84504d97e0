"""What probes learn from and are asked about: features and classes of train and of the split under evaluation.

# N pictures to learn from, B pictures to ask about, E embedding
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calligram.clip.zero_shot import ClipPipeline
from calligram.data.manifest import Manifest
from calligram.eval.features import embed_classed
from calligram.eval.probe import most_frequent
from calligram.eval.task import EvalConfig, has_classes


class Lesson(NamedTuple):
    """Unit vectors, as CLIP_benchmark's probe takes them, and classes."""

    train_NE: NDArray
    train_N: NDArray
    test_BE: NDArray
    test_B: NDArray


def can_learn(data: Manifest, config: EvalConfig) -> bool:
    splits = {config.train_split, config.split}
    return has_classes(data, config) and len(splits) == 2 and all(data.splits.get(split) for split in splits)


def lesson(clip: ClipPipeline, data: Path | str, config: EvalConfig, max_classes: int | None = None) -> Lesson | None:
    """The first pictures of both splits that have a class; of the most frequent classes in train where there are more.

    A picture of a class that train does not have is asked about, too, and will be got wrong. None where there are fewer
    than two classes to learn, or no picture to ask about.
    """
    train = embed_classed(clip, data, config.train_split, config.max_train_samples)
    test = embed_classed(clip, data, config.split, config.max_samples)
    if not len(train[1]) or not len(test[1]):
        return None
    found = Lesson(*(part.numpy() for part in (*train, *test)))
    learnt = most_frequent(found.train_N, len(found.train_N))
    if max_classes is not None and len(learnt) > max_classes:
        learnt = most_frequent(found.train_N, max_classes)
        found = _of_classes(found, learnt)
    return found if len(learnt) > 1 and len(found.test_B) else None


def _of_classes(found: Lesson, classes: NDArray) -> Lesson:
    train, test = np.isin(found.train_N, classes), np.isin(found.test_B, classes)
    return Lesson(found.train_NE[train], found.train_N[train], found.test_BE[test], found.test_B[test])
