"""Which source a sample comes from: fixed shares, counted rather than drawn, so that no run is off by chance.

# L lanes, P slots of a period, J sources
"""

from collections.abc import Sequence

import numpy as np

from calligram.errors import UserError

PERIOD = 1024  # slots; shares are multiples of one in so many
GOLDEN = (5**0.5 - 1) / 2


class Mixture:
    """Deals the turns of each lane out to the sources, by a table of one period that repeats.

    In any stretch of any lane a source is within one sample of its share, and the lanes begin at different places of
    the table, so that each batch has nearly the same mix.
    """

    def __init__(self, weights: Sequence[float], num_lanes: int):
        if len(weights) == 1:
            self.quotas = np.ones(1, np.int64)
        else:
            self.quotas = _quotas(weights)
        self.table = _table(self.quotas)
        # before[s, j]: slots of source j before slot s of the period
        taken = self.table[:, None] == np.arange(len(self.quotas))
        self.before = np.concatenate([np.zeros((1, len(self.quotas)), np.int64), taken.cumsum(0)])
        # by the golden ratio: even steps could all fall on one source of a table that repeats itself
        self.phases = (np.arange(num_lanes) * GOLDEN % 1 * len(self.table)).astype(np.int64)

    def split(self, lanes: np.ndarray, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Source of each lane's turn, and which turn of that source in that lane it is."""
        phases = self.phases[lanes]
        periods, slots = np.divmod(turns + phases, len(self.table))
        sources = self.table[slots]
        count = periods * self.quotas[sources] + self.before[slots, sources]
        return sources, count - self.before[phases, sources]

    def share(self, source: int) -> float:
        return float(self.quotas[source] / self.quotas.sum())


def _quotas(weights: Sequence[float]) -> np.ndarray:
    """Slots of each source: the weights in whole 1,024ths, by largest remainder."""
    wanted = np.array(weights, np.float64)
    if not np.isfinite(wanted).all() or (wanted <= 0).any():
        raise UserError(f"weights {', '.join(f'{w:g}' for w in weights)}: give a number above 0 for each source")
    exact = wanted / wanted.sum() * PERIOD
    quotas = np.floor(exact).astype(np.int64)
    rest = PERIOD - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:rest]] += 1
    if (quotas == 0).any():
        raise UserError(
            f"weights {', '.join(f'{w:g}' for w in weights)}: the smallest is less than one sample in {PERIOD}"
        )
    return quotas


def _table(quotas: np.ndarray) -> np.ndarray:
    """Slot → source, each source spread as evenly as can be: the one furthest behind its share goes next."""
    period, given = int(quotas.sum()), np.zeros_like(quotas)
    table = np.empty(period, np.int64)
    for slot in range(period):
        table[slot] = np.argmax(quotas * (slot + 1) - given * period)
        given[table[slot]] += 1
    return table
