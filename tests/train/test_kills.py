"""Real trainings in real processes, killed at any moment."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calligram import runs
from calligram.train.checkpoint import check
from tests.train.processes import ENVIRONMENT, ROOT, command
from tests.train.test_resume import clip_run, dalle_run, tokenizer_run

STEPS = 60
SCRIPT = """
import sys
from pathlib import Path
import torch
from calligram.presets import build, config
from pydantic import TypeAdapter

torch.set_num_threads(1)
run = TypeAdapter(config.Run).validate_json(Path(sys.argv[1]).read_text())
build.start(run, Path(sys.argv[2]), resume=True)
"""


def write_config(build_run, drawings, tmp_path) -> Path:
    run = build_run(drawings, tmp_path)
    options = {"steps": STEPS, "save_every": 7, "log_every": 5, "keep_last": 3, "ema_decay": 0.9}
    run = run.model_copy(update={"train": run.train.model_copy(update=options)})
    path = tmp_path / "config.json"
    path.write_text(run.model_dump_json())
    return path


def start(config: Path, run: Path, log: Path) -> subprocess.Popen:
    with log.open("a") as file:
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(config), str(run)], cwd=ROOT, stdout=file, stderr=file
        )


def rows(run: Path) -> list[dict]:
    return [row | {"samples_per_s": 0, "data_wait": 0} for row in runs.read_metrics(run)]


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("build_run", [tokenizer_run, clip_run, dalle_run])
def test_ten_kills_change_nothing(drawings, tmp_path, build_run):
    """At random moments between the first step and the last, some of them in the middle of a save."""
    config, log = write_config(build_run, drawings, tmp_path), tmp_path / "log.txt"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begin = time.monotonic()
    assert start(config, whole, log).wait(600) == 0, log.read_text()
    seconds, rng, kills, in_a_save = time.monotonic() - begin, random.Random(0), 0, 0
    while kills < 10:
        child = start(config, killed, log)
        wait_for_steps(child, killed)
        if rng.random() < 0.5:  # as soon as a checkpoint is being written
            end = time.monotonic() + seconds
            while child.poll() is None and time.monotonic() < end and not list(killed.glob(".step_*.partial")):
                pass
        else:
            time.sleep(rng.uniform(0, 0.05))
        in_a_save += bool(list(killed.glob(".step_*.partial")))
        if child.poll() is not None:
            assert child.returncode == 0, log.read_text()
            break
        child.send_signal(signal.SIGKILL)
        child.wait()
        kills += 1
    assert start(config, killed, log).wait(600) == 0, log.read_text()
    print(f"{kills} kills, {in_a_save} of them in a save")
    assert kills == 10 and in_a_save
    for name in (runs.MODEL, runs.EMA, "optimizer.safetensors"):
        ours, theirs = (load_file(run / f"step_0000{STEPS}" / name) for run in (killed, whole))
        assert ours.keys() == theirs.keys() and all(torch.equal(x, theirs[key]) for key, x in ours.items())
    assert rows(killed) == rows(whole)
    written = [json.loads(line)["step"] for line in (killed / runs.METRICS).read_text().splitlines()]
    assert written == sorted(set(written))


def wait_for_steps(child: subprocess.Popen, run: Path) -> None:
    """Until the process takes steps: it has written a row of its own."""

    def size() -> tuple[int, float]:
        path = run / runs.METRICS
        found = path.stat() if path.exists() else None
        return (found.st_ino, found.st_size) if found else (0, 0)

    before = size()
    while child.poll() is None and size() == before:
        time.sleep(0.002)


SAVES = """
import sys
from pathlib import Path
import torch
from torch import nn
from calligram.train import checkpoint
from calligram.train.checkpoint import Keep
from calligram.train.state import TrainingState

torch.manual_seed(0)
model = nn.Linear(300, 300)
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
state, run = TrainingState(model, optimizer), Path(sys.argv[1])
step, writer = checkpoint.restore(run, state), checkpoint.Writer(run, Keep(2))
print(step, flush=True)
while True:
    model(torch.randn(2, 300)).square().mean().backward()
    optimizer.step()
    step += 1
    writer.save(step, state)
    writer.wait()
"""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_hundred_kills_while_saving_leave_a_checkpoint_every_time(tmp_path):
    """A process that does nothing but save; after each kill the newest checkpoint is whole, and no older one is."""
    run, rng, steps, halves = tmp_path / "run", random.Random(1), [0], 0
    child = None
    for _ in range(200):
        if child is None:
            child = subprocess.Popen([sys.executable, "-c", SAVES, str(run)], cwd=ROOT, stdout=subprocess.PIPE)
            assert child.stdout is not None
            assert int(child.stdout.readline()) == steps[-1]
        while len(runs.checkpoints(run)) < 1 or runs.step_of(runs.checkpoints(run)[-1]) == steps[-1]:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        # a stopped process leaves the disk as a killed one does, and need not import torch anew for the next try
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        halves += bool(list(run.glob(".step_*")))
        newest = runs.checkpoints(run)[-1]
        assert check(newest) == runs.step_of(newest)
        assert (run / runs.LATEST).resolve().name in {p.name for p in runs.checkpoints(run)}
        steps.append(runs.step_of(newest))
        if rng.random() < 0.1:
            child.send_signal(signal.SIGKILL)
            child.wait()
            child = None
        else:
            child.send_signal(signal.SIGCONT)
    if child is not None:
        child.kill()
        child.wait()
    print(f"{halves} of 200 in the middle of a save")
    assert steps == sorted(steps) and halves > 50


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_training_that_is_told_to_go_saves_and_says_so(drawings, tmp_path, number):
    flags = f"train demo-clip --data.shards {drawings} --data.num-workers 0 --train.steps 4000 --train.batch-size 4"
    flags += f" --train.save-every 4000 --train.log-every 1 --train.warmup-steps 1 --out {tmp_path}/run"
    words = command(["-m", "calligram", *flags.split()])
    child = subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while child.poll() is None and len(runs.read_metrics(tmp_path / "run")) < 3:
        time.sleep(0.01)
    child.send_signal(number)
    asked = time.monotonic()
    _, said = child.communicate(timeout=120)
    seconds = time.monotonic() - asked
    assert child.returncode == 75, said
    step = runs.step_of(runs.checkpoints(tmp_path / "run")[-1])
    assert f"interrupted after step {step} of 4000, which is saved in {tmp_path}/run" in said.splitlines()[-1]
    assert step == runs.read_metrics(tmp_path / "run")[-1]["step"] and "Traceback" not in said
    print(f"{seconds:.2f} s")
