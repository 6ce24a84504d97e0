"""In which order an epoch goes through its samples: at random, or with similar captions side by side."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np


class Order(Protocol):
    """A new permutation of all samples for each generator."""

    def __call__(self, rng: np.random.Generator) -> np.ndarray: ...


class RandomOrder:
    """Every order is as likely as any other."""

    def __init__(self, num_samples: int):
        self.num_samples = num_samples

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.num_samples)


class SimilarOrder:
    """Groups of samples whose captions share words, the groups in random order.

    A batch of such groups has hard negatives: other pictures of nearly the same words (batches by similarity,
    arXiv 2210.12874). Each epoch ranks the words anew and sorts the samples by their words in that ranking, so
    that samples meet now over a colour, now over a place.
    """

    def __init__(self, captions_of: Iterable[Sequence[str]], group: int):
        number_of: dict[str, int] = {}
        self.group = group
        self.words = [
            [number_of.setdefault(word, len(number_of)) for word in {*" ".join(captions).lower().split()}]
            for captions in captions_of
        ]
        self.num_words = len(number_of)

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        rank = rng.permutation(self.num_words).tolist()
        keys = [sorted(rank[word] for word in words) for words in self.words]
        shuffled = rng.permutation(len(keys)).tolist()  # samples of the same words meet by chance
        order = np.array(sorted(shuffled, key=keys.__getitem__), dtype=np.int64)
        # groups begin anywhere, so that neighbours are not always cut apart at the same place
        order = np.roll(order, int(rng.integers(len(order))))
        whole = len(order) // self.group * self.group
        groups = order[:whole].reshape(-1, self.group)
        return np.concatenate([groups[rng.permutation(len(groups))].reshape(-1), order[whole:]])
