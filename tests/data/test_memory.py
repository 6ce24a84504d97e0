"""Memory of a training's data, over epochs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from calligram.data.sources.shapes import ShapesSource
from calligram.data.writer import write_shards

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, os, sys
from pathlib import Path

from calligram.data.loader import Batches
from calligram.data.training import DataConfig, TrainingSet

def megabytes():
    pids = [os.getpid(), *map(int, Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())]
    facts = [Path(f"/proc/{pid}/statm").read_text().split() for pid in pids]
    pages = [int(resident) - int(shared) for _, resident, shared, *_ in facts]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

steps = 3 * 6000 // 50
batches = Batches(TrainingSet(DataConfig(shards=Path(sys.argv[1]), num_workers=2), 64), 50, steps)
found = []
for number, batch in enumerate(batches, start=1):
    if number % (steps // 3) == 0 and number < steps or number == steps - 10:
        found.append(megabytes())
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_is_flat_over_three_epochs(tmp_path):
    write_shards(ShapesSource(num_samples=6000, num_test=0, num_holdout=0), tmp_path / "shards")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "shards")]
    output = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    first, second, third = json.loads(output.stdout)
    print(first, second, third)
    assert third < second + 5 and second < first + 20  # MB, of the training process and two workers
