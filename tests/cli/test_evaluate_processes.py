"""Evaluations in real processes: killed at any moment, and shared by several under torchrun."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.train.processes import ENVIRONMENT, command

LIMIT_S = 900  # a hang ends the test; on a busy machine a start alone takes minutes
TIMES = ("seconds", "started")


def evaluation(tiny_runs, out: Path, processes: int = 1) -> list[str]:
    words = ["evaluate", "--model", str(tiny_runs.clip), "--model", str(tiny_runs.dalle), "--seed", "3"]
    words += ["--data", str(tiny_runs.shards), "--num-captions", "6", "--num-candidates", "4", "--out", str(out)]
    return command(["-m", "calligram.cli.main", *words], processes)


def finished(out: Path) -> int:
    return len(list((out / "cells").glob("*.json")))


def without_times(value):
    if isinstance(value, dict):
        return {name: without_times(each) for name, each in value.items() if name not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def read(out: Path) -> str:
    """The bytes of the results, times aside."""
    return json.dumps(without_times(json.loads((out / "results.json").read_text())), indent=1)


@pytest.fixture(scope="module")
def alone(tiny_runs, tmp_path_factory) -> Path:
    """By one process, undisturbed."""
    out = tmp_path_factory.mktemp("alone")
    subprocess.run(evaluation(tiny_runs, out), env=ENVIRONMENT, check=True, timeout=LIMIT_S)
    return out


@pytest.mark.slow
@pytest.mark.timeout(6 * LIMIT_S)
def test_killed_after_any_cell_it_ends_with_the_same_bytes(tiny_runs, alone, tmp_path):
    """SIGKILL early and late: the last start finds all but what is missing."""
    number = finished(alone)
    assert number >= 6
    for wanted in (2, number - 2):
        with (tmp_path / "log.txt").open("a") as log:
            process = subprocess.Popen(evaluation(tiny_runs, tmp_path / "out"), env=ENVIRONMENT, stderr=log, stdout=log)
            started = time.monotonic()
            while finished(tmp_path / "out") < wanted and time.monotonic() - started < LIMIT_S:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        assert wanted <= finished(tmp_path / "out") < number
        assert not (tmp_path / "out/results.json").exists()
    done = subprocess.run(evaluation(tiny_runs, tmp_path / "out"), env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"of {number} cells are there already" in done.stderr
    assert read(tmp_path / "out") == read(alone)


@pytest.mark.slow
@pytest.mark.timeout(2 * LIMIT_S)
def test_two_processes_find_what_one_finds(tiny_runs, alone, tmp_path):
    done = subprocess.run(
        evaluation(tiny_runs, tmp_path, processes=2), env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = (json.loads((out / "results.json").read_text()) for out in (tmp_path, alone))
    assert [cell["key"] for cell in ours["cells"]] == [cell["key"] for cell in theirs["cells"]]
    names = [(row["model"], row["metric"], row["count"]) for row in ours["rows"]]
    assert names == [(row["model"], row["metric"], row["count"]) for row in theirs["rows"]]
    values = [[row["value"] for row in results["rows"]] for results in (ours, theirs)]
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert finished(tmp_path) == finished(alone)
