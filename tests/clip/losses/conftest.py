import random

import pytest

from calligram.clip.losses import softmax, tiles


@pytest.fixture
def odd_tiles(monkeypatch):
    """Sets tiles that few batches fill, by a seed."""

    def set_sizes(seed: int) -> None:
        rng = random.Random(seed)
        monkeypatch.setattr(tiles, "CPU_TILE", rng.choice([9, 16, 33, 64]))
        monkeypatch.setattr(softmax, "FINE_TILE", rng.choice([7, 15, 64]))

    return set_sizes
