"""1, 2 and 4 real processes under torchrun, with DDP and in pieces: the same training."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from calligram import runs
from tests.train.processes import ENVIRONMENT, command

TOLERANCE = 1e-10  # fp64
SCRIPT = """
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from calligram.train import distributed, loop
from calligram.train.config import TrainConfig

torch.set_default_dtype(torch.float64)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(7, 7), nn.Tanh()) for _ in range(2)])
        self.head = nn.Linear(7, 3)  # three rows do not fit four processes
        self.temperature = nn.Parameter(torch.tensor(0.5))

    def encode(self, x):  # not forward, as our CLIP has it
        for block in self.blocks:
            x = x + block(x)
        return self.head(x) * self.temperature.exp()


class Task(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = Model()

    def forward(self, batch):
        error = (self.model.encode(batch["x"]) - batch["y"]).square().mean()
        return error, {}


class Batches:
    def __init__(self, steps):
        self.steps, self.step = steps, 0

    def __iter__(self):
        while self.step < self.steps:
            x = torch.randn(16, 7, generator=torch.Generator().manual_seed(self.step))
            share = 16 // distributed.world_size()
            mine = slice(distributed.rank() * share, (distributed.rank() + 1) * share)
            self.step += 1
            yield {"x": x[mine], "y": x.cumsum(1)[mine, :3]}

    def facts(self):
        return {}

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


if __name__ == "__main__":
    run, steps, options = Path(sys.argv[1]), int(sys.argv[2]), dict(word.split("=") for word in sys.argv[3:])
    config = TrainConfig(
        steps=30, batch_size=16, lr=0.03, warmup_steps=3, log_every=1, save_every=10, ema_decay=0.9, keep_last=5,
        schedule="constant", **options,
    )
    with distributed.started() as device:
        # the schedule is that of all the steps, the batches may end before them
        loop.train(Task(), Batches(steps), config, run, device)
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("script") / "script.py"
    path.write_text(SCRIPT)
    return path


def train(script: Path, run: Path, processes: int, *options: str, steps: int = 30) -> None:
    words = command([str(script), str(run), str(steps), *options], processes)
    done = subprocess.run(words, env=ENVIRONMENT, timeout=500, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def alone(script, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    train(script, run, 1)
    return run


def differences(ours: Path, theirs: Path) -> dict[str, float]:
    found = {}
    rows = [runs.read_metrics(run) for run in (ours, theirs)]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]] == list(range(1, 31))
    for name in ("loss", "grad_norm"):
        found[name] = max(abs(a[name] - b[name]) / abs(b[name]) for a, b in zip(*rows, strict=True))
    for file in (runs.MODEL, runs.EMA):
        a, b = (load_file(run / "step_000030" / file) for run in (ours, theirs))
        assert a.keys() == b.keys()
        found[file] = max(float((a[name] - b[name]).abs().max()) for name in a)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1100)
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize(
    "options", [["parallel=ddp"], ["parallel=fsdp"], ["parallel=fsdp", "accumulate=2"]], ids="-".join
)
def test_several_processes_train_as_one_does(script, alone, tmp_path, processes, options):
    train(script, tmp_path / "run", processes, *options)
    found = differences(tmp_path / "run", alone)
    print(processes, options, json.dumps(found))
    assert max(found.values()) < TOLERANCE


@pytest.mark.slow
@pytest.mark.timeout(1100)
@pytest.mark.parametrize("first", ["parallel=fsdp", "parallel=ddp"])
@pytest.mark.parametrize(("processes", "then"), [(2, "parallel=fsdp"), (1, "parallel=ddp"), (2, "parallel=ddp")])
def test_a_checkpoint_of_four_processes_goes_on_in_fewer(script, alone, tmp_path, first, processes, then):
    train(script, tmp_path / "run", 4, first, steps=20)
    folder = tmp_path / "run/step_000020"
    assert (folder / "pieces").is_dir() == (first == "parallel=fsdp")
    assert not [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".safetensors", ".json")]
    train(script, tmp_path / "run", processes, then)
    found = differences(tmp_path / "run", alone)
    print(first, processes, then, json.dumps(found))
    assert max(found.values()) < TOLERANCE


@pytest.mark.slow
@pytest.mark.timeout(1100)
def test_torchrun_hands_on_the_signal_and_all_processes_stop_at_one_step(drawings, tmp_path):
    flags = f"train demo-clip --data.shards {drawings} --data.num-workers 0 --train.steps 4000 --train.batch-size 4"
    flags += f" --train.save-every 4000 --train.log-every 1 --train.warmup-steps 1 --out {tmp_path}/run"
    words = command(["-m", "calligram", *flags.split()], 2)
    child = subprocess.Popen(words, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    while child.poll() is None and len(runs.read_metrics(tmp_path / "run")) < 3:
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=120)
    step = runs.step_of(runs.checkpoints(tmp_path / "run")[-1])
    assert f"interrupted after step {step} of 4000" in (tmp_path / "run" / runs.INTERRUPTED).read_text(), said
    assert step == runs.read_metrics(tmp_path / "run")[-1]["step"]


@pytest.mark.slow
@pytest.mark.timeout(1100)
def test_the_error_of_the_process_that_fails_ends_the_job_and_is_told_first(script, tmp_path):
    """Not the broken connections of those that waited for it."""
    failing = tmp_path / "failing.py"
    body = script.read_text().replace(
        "            self.step += 1\n",
        "            self.step += 1\n            if self.step == 5 and distributed.rank() == 1:\n"
        "                raise ValueError('the second one has enough')\n",
    )
    failing.write_text(body)
    words = command([str(failing), str(tmp_path / "run"), "30"], 2)
    done = subprocess.run(words, env=ENVIRONMENT, timeout=200, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if "Error" in line and "ChildFailedError" not in line]
    assert done.returncode and errors and "the second one has enough" in errors[0], done.stderr
