"""Disks that are full or must not be written, real ones: a small tmpfs in a mount namespace of the test's own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, shutil, subprocess, sys
from pathlib import Path

import torch
from torch import nn

from calligram import runs
from calligram.errors import UserError
from calligram.train import loop
from calligram.train.config import TrainConfig

place, way = Path(sys.argv[1]), sys.argv[2]
run = place / "run"


class Task(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Linear(100, 100)

    def forward(self, batch):
        return self.model(batch["x"]).square().mean(), {}


class Batches:
    step = 0

    def __iter__(self):
        while self.step < self.steps:
            self.step += 1
            if self.step == 15 and way == "full" and self.steps == 30:
                fill()
            yield {"x": torch.randn(4, 100, generator=torch.Generator().manual_seed(self.step))}

    def facts(self):
        return {}

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


def fill():
    while len(runs.checkpoints(run)) < 1:  # one is still being written
        pass
    (place / "filler").write_bytes(bytes(shutil.disk_usage(place).free - 60_000))


def train(steps=40):
    Batches.step, Batches.steps = 0, steps
    config = TrainConfig(steps=40, batch_size=4, save_every=10, log_every=1000, keep_last=2, warmup_steps=1)
    try:
        loop.train(Task(), Batches(), config, run, torch.device("cpu"))
    except UserError as error:
        return str(error)
    return "done"


subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
if way == "read-only":
    train(20)
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
said = train(30)
left = sorted(path.name for path in run.iterdir() if "events" not in path.name)
if way == "read-only":
    subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
else:
    (place / "filler").unlink()
again = train()
steps = [runs.step_of(path) for path in runs.checkpoints(run)]
print(json.dumps({"said": said, "left": left, "again": again, "steps": steps}))
"""


def can_mount() -> bool:
    try:
        return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="needs mount namespaces")
@pytest.mark.parametrize(
    ("way", "said", "left"),
    [
        ("full", r"step_000020 cannot be written \(.*No space left on device.*\): make room", ["step_000010"]),
        ("read-only", r"run cannot be written \(Read-only file system\): make room", ["step_000010", "step_000020"]),
    ],
)
def test_a_disk_that_does_not_take_a_checkpoint_loses_none(tmp_path, way, said, left):
    (tmp_path / "disk").mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    command = ["unshare", "-rm", sys.executable, str(tmp_path / "script.py"), str(tmp_path / "disk"), way]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found["said"])
    assert re.search(said, found["said"]), found["said"]
    assert found["left"] == ["latest", "metrics.jsonl", *left]
    assert found["again"] == "done" and found["steps"] == [30, 40]
