"""One order of samples for any number of processes and workers, also through kills."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from calligram.data.sources.shapes import ShapesSource
from calligram.data.writer import write_shards

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1100)
def test_nine_layouts_and_twenty_kills_give_one_hash(tmp_path):
    write_shards(ShapesSource(num_samples=200, num_test=0, num_holdout=0), tmp_path / "shards", samples_per_shard=30)
    command = [sys.executable, str(Path(__file__).with_name("elastic.py")), str(tmp_path / "shards"), str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=1000)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert len(found["hashes"]) == 10 and len(set(map(tuple, found["layouts"]))) > 5
    assert len(set(found["hashes"].values())) == 1, found
