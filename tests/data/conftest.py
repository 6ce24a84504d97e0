import pytest

from calligram.data.dataset import Shards
from calligram.data.sources.shapes import ShapesSource
from calligram.data.writer import write_shards
from tests.data.fault_server import FaultServer

SOURCE = ShapesSource(num_samples=23, num_test=5, num_holdout=0)


@pytest.fixture(scope="session")
def source() -> ShapesSource:
    return SOURCE


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """23 drawings in three shards to train on and 5 to test with; tests only read it."""
    path = tmp_path_factory.mktemp("data") / "shapes"
    write_shards(SOURCE, path, samples_per_shard=10)
    return path


@pytest.fixture
def shards(folder) -> Shards:
    return Shards(folder, "train")


@pytest.fixture
def far(folder):
    """The drawings, on a web server."""
    server = FaultServer(folder)
    yield server
    server.close()
