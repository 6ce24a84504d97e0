"""What it costs to know which samples come next, of 450 million: python benchmarks/plan.py [--quick]

The peer is the usual way, a shuffled list of all samples (NumPy's Philox), as long as it fits into memory.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

from harness import Row, run

PEER = "shuffled list of all"
PACKAGES = ("numpy", "pydantic")
BATCH = 1024
# in a process of its own, since memory is measured, and that of torch would be most of it
SCRIPT = """
import json, re, sys, tempfile, time
from pathlib import Path

import numpy as np

from calligram.data.manifest import Manifest
from calligram.data.plan import Plan

def megabytes():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def clock(action):
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result

class ShuffledList:
    def __init__(self, counts):
        self.ends = np.cumsum(counts)
        self.order = np.random.Generator(np.random.Philox(0)).permutation(int(self.ends[-1]))

    def batch(self, step):
        numbers = self.order[step * 1024 % (len(self.order) - 1024):][:1024]
        shards = np.searchsorted(self.ends, numbers, side="right")
        return list(zip(shards.tolist(), (self.ends[shards] - numbers).tolist()))

way, num_shards = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
counts = rng.integers(8_000, 10_001, num_shards).tolist()
with tempfile.TemporaryDirectory() as folder:
    shards = [
        {"file": f"train/{i:06d}.tar", "num_samples": n, "num_bytes": 5 * 10**8, "sha256": rng.bytes(32).hex()}
        for i, n in enumerate(counts)
    ]
    Path(folder, "manifest.json").write_text(
        json.dumps({"name": "big", "licence": "none", "splits": {"train": shards}})
    )
    del shards

    def open_plan():
        counts = tuple(shard.num_samples for shard in Manifest.load(Path(folder)).shards("train"))
        plan = Plan((counts,), 1024, 0) if way == "ours" else ShuffledList(counts)
        plan.batch(0)
        return plan

    start, plan = clock(open_plan)
batches, _ = clock(lambda: [plan.batch(step) for step in range(1, 101)])
jump, _ = clock(lambda: (Plan((tuple(counts),), 1024, 0) if way == "ours" else ShuffledList(counts)).batch(10**5 + 7))
print(json.dumps({"samples": sum(counts), "start, with the manifest, s": start, "batch of 1,024, ms": batches * 10,
                  "resume in mid-epoch, ms": jump * 1e3, "memory, MB": megabytes()}))
"""


def measure(quick: bool) -> Iterator[Row]:
    num_shards = 5_000 if quick else 50_000
    ours, peer = (figures(way, num_shards) for way in ("ours", "peer"))
    case = f"{num_shards:,} shards, {ours.pop('samples') / 1e6:.0f}M samples"
    for metric, value in ours.items():
        yield Row(case=case, metric=metric, ours=value, peer=peer[metric], peer_name=PEER, ratio=peer[metric] / value)


def figures(way: str, num_shards: int) -> dict[str, float]:
    command = [sys.executable, "-c", SCRIPT, way, str(num_shards)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    run("plan", measure, PACKAGES)
