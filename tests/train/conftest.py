import pytest

from calligram.data.sources.shapes import ShapesSource
from calligram.data.writer import write_shards


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """40 drawings to train on; tests only read it."""
    path = tmp_path_factory.mktemp("train") / "shapes"
    write_shards(ShapesSource(num_samples=40, num_test=0, num_holdout=0), path)
    return path
