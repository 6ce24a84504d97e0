"""A linear classifier on a frozen model's features (arXiv 2103.00020, A.3): scikit-learn's, and CLIP's way to C.

# N pictures, E features
"""

import math
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from calligram.progress import Progress

SWEEP = np.logspace(-6, 6, 96)  # the values of C among which the paper looks
FIRST = (1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6)  # with which it begins
MAX_ITER = 1000
VALIDATION = 5  # every so-many-th picture is kept to choose C by


def fit(feature_NE: NDArray, class_N: NDArray, c: float) -> LogisticRegression:
    """Multinomial logistic regression by L-BFGS, with the paper's 1,000 iterations at most; C is 1 / L2 penalty."""
    with warnings.catch_warnings():
        # very large C hardly bend the weights, and never end; what counts is how well they classify
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=c, max_iter=MAX_ITER).fit(feature_NE, class_N)


def choose_c(feature_NE: NDArray, class_N: NDArray) -> float:
    """C of the best accuracy on every fifth picture, fitted to the others."""
    held = np.arange(len(class_N)) % VALIDATION == VALIDATION - 1
    with Progress("choose C of the probe", None) as progress:

        def accuracy(c: float) -> float:
            progress.advance(c=c)
            return float(fit(feature_NE[~held], class_N[~held], c).score(feature_NE[held], class_N[held]))

        return search(accuracy)


def search(accuracy: Callable[[float], float]) -> float:
    """The paper's binary search: seven values over all of the range, then around the best, half as far each time.

    It ends at the sweep's own distance, eight values a decade. Of equals the smallest C, the simplest model, is taken.
    """
    nearest = [int(np.abs(np.log(SWEEP) - math.log(c)).argmin()) for c in FIRST]
    found = {place: accuracy(float(SWEEP[place])) for place in nearest}
    step = int(max(np.diff(nearest))) // 2
    while step:
        best = _best(found)
        for place in (best - step, best + step):
            if 0 <= place < len(SWEEP) and place not in found:
                found[place] = accuracy(float(SWEEP[place]))
        step //= 2
    return float(SWEEP[_best(found)])


def _best(found: dict[int, float]) -> int:
    return max(found, key=lambda place: (found[place], -place))


def few_shots(class_N: NDArray, shots: int, rng: np.random.Generator) -> NDArray:
    """Rows of so many pictures of each class, drawn anew; all of those of a class that has fewer."""
    drawn = rng.permutation(len(class_N))
    order = drawn[np.argsort(class_N[drawn], kind="stable")]
    classes = class_N[order]
    # how many of the same class stand before each
    before = np.arange(len(order)) - np.searchsorted(classes, classes, "left")
    return np.sort(order[before < shots])


def most_frequent(class_N: NDArray, number: int) -> NDArray:
    """Classes with the most pictures, in their order; of equals the first."""
    count = np.bincount(class_N)
    return np.sort(np.argsort(-count, kind="stable")[: min(number, int((count > 0).sum()))])
