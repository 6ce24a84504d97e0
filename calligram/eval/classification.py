"""How good are scores of classes? Accuracy, recall of each class and calibration, with their intervals.

# B pictures, C classes
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from calligram.eval.estimate import Estimate, Indices, bootstrap, mean

BINS = 15  # of confidence (arXiv 1706.04599)

Measured = Iterator[tuple[str, Estimate]]


def accuracies(score_BC: Tensor, class_B: Tensor) -> Measured:
    """Shares of pictures whose class has the highest score, or one of the five highest."""
    hits = score_BC.topk(min(5, score_BC.shape[1])).indices == class_B[:, None]
    yield "top1", mean(hits[:, 0])
    yield "top5", mean(hits.any(1))


def classification(score_BC: Tensor, class_B: Tensor, scale: float) -> Measured:
    """The accuracies, and what they hide: rare classes, and confidence that is not deserved.

    ``scale`` is the model's own: softmax(scale · score) are its probabilities.
    """
    yield from accuracies(score_BC, class_B)
    hits = score_BC.argmax(1) == class_B
    yield "mean_per_class_recall", mean_per_class_recall(hits, class_B, score_BC.shape[1])
    yield "calibration_error", calibration_error((scale * score_BC.double()).softmax(1).amax(1), hits)


def mean_per_class_recall(hit_B: Tensor, class_B: Tensor, num_classes: int) -> Estimate:
    """The mean over those classes of which there are pictures: scikit-learn's ``balanced_accuracy_score``."""
    hits, classes = hit_B.double().numpy(), class_B.numpy()

    def statistic(rows: Indices) -> float:
        counts = np.bincount(classes[rows], minlength=num_classes)
        right = np.bincount(classes[rows], hits[rows], num_classes)
        return float((right[counts > 0] / counts[counts > 0]).mean())

    return bootstrap(statistic, len(classes))


def calibration_error(confidence_B: Tensor, hit_B: Tensor, bins: int = BINS) -> Estimate:
    """Expected calibration error (arXiv 1706.04599): how far confidence and accuracy of equal bins are apart.

    A bin holds what is above its lower bound up to its upper one. The estimate is never below zero, and that of a
    resample leans upwards: an interval may lie above its value.
    """
    gap_B = (confidence_B - hit_B.double()).numpy()
    bin_B = _bins(confidence_B.double().numpy(), bins)

    def statistic(rows: Indices) -> float:
        return float(np.abs(np.bincount(bin_B[rows], gap_B[rows], bins)).sum() / len(rows))

    return bootstrap(statistic, len(gap_B))


def _bins(confidence_B: NDArray, bins: int) -> NDArray:
    return np.clip(np.ceil(confidence_B * bins).astype(np.int64) - 1, 0, bins - 1)


def average_precision(score_BC: Tensor, right_BC: Tensor, resamples: int = 200) -> Estimate:
    """mAP, where pictures may have several labels: the mean over the classes that any picture has.

    Each class's is scikit-learn's ``average_precision_score``. In a resample pictures have weights, so that each class
    is sorted once.
    """
    order = score_BC.double().numpy().argsort(0, kind="stable")[::-1]
    score = np.take_along_axis(score_BC.double().numpy(), order, 0)
    right = np.take_along_axis(right_BC.numpy().astype(np.float64), order, 0)
    last = _last_of_ties(score)

    def statistic(rows: Indices) -> float:
        weight = np.bincount(rows, minlength=len(order)).astype(np.float64)[order]
        hit = weight * right
        seen, found = (np.take_along_axis(x.cumsum(0), last, 0) for x in (weight, hit))
        total = hit.sum(0)
        precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
        return float(((precision * hit).sum(0)[total > 0] / total[total > 0]).mean())

    return bootstrap(statistic, len(order), resamples)


def _last_of_ties(score: NDArray) -> NDArray:
    """For each row of falling columns the last row with the same score: there is no threshold between them."""
    rows = np.arange(len(score))[:, None].repeat(score.shape[1], 1)
    is_last = np.ones_like(score, bool)
    is_last[:-1] = score[:-1] != score[1:]
    ends = np.where(is_last, rows, len(score))
    return np.minimum.accumulate(ends[::-1], 0)[::-1]
