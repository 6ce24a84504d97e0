"""The random numbers of one sample, from its seeds alone.

Not a generator of NumPy or of Python: those take longer to seed than a sample may cost, and promise no numbers for
their next versions, so that an upgrade would change a training that goes on.
"""

from calligram.data.permute import GOLDEN, WORD, mix, scramble


class Draws:
    """SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), with the methods that NumPy's Generator has for these."""

    def __init__(self, *seeds: int):
        self._state = mix(*seeds)

    def random(self) -> float:
        """At least 0, below 1."""
        return (self._next() >> 11) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def integers(self, low: int, high: int) -> int:
        """At least ``low``, below ``high``."""
        return low + (self._next() * (high - low) >> 64)

    def _next(self) -> int:
        self._state = (self._state + GOLDEN) & WORD
        return scramble(self._state)
