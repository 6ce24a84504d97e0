from pathlib import Path

import pytest

from calligram.data import remote
from calligram.data.remote import Patience


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own, and a network that is soon given up."""
    monkeypatch.setenv("CALLIGRAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(remote, "PATIENCE", Patience(timeout=5, tries=2, wait=0.01))
    return tmp_path / "cache"


@pytest.fixture
def tree():
    """All files below a folder with their bytes: what must be the same afterwards."""
    return lambda folder: {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
