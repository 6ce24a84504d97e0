import json
import subprocess

import pytest
import torch

from calligram import runs
from calligram.train.precision import make_deterministic
from calligram.train.provenance import git_commit, record


def test_each_start_leaves_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/calligram", "train", "toy", "--out", "my runs/a"])
    record(tmp_path, torch.device("cpu"))
    (tmp_path / "step_000007").mkdir()
    (tmp_path / "step_000007" / runs.MODEL).touch()
    record(tmp_path, torch.device("cpu"))
    first, second = (json.loads(line) for line in (tmp_path / runs.STARTS).read_text().splitlines())
    assert first["command"] == "calligram train toy --out 'my runs/a'"
    assert (first["from_step"], second["from_step"]) == (0, 7)
    assert first["versions"]["torch"] == torch.__version__ and first["processes"] == 1


def test_the_commit_of_a_checkout_and_whether_it_was_changed(tmp_path):
    assert git_commit(tmp_path) is None
    who = ["-c", "user.name=x", "-c", "user.email=x@y.z"]
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    commit = git_commit(tmp_path)
    assert commit is not None and len(commit) == 40
    (tmp_path / "new").touch()
    subprocess.run(["git", "-C", str(tmp_path), "add", "new"], check=True)
    assert git_commit(tmp_path) == f"{commit}-dirty"


@pytest.fixture
def as_before():
    yield
    torch.use_deterministic_algorithms(False)


def test_deterministic_is_torchs_own(as_before, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    make_deterministic()
    assert torch.are_deterministic_algorithms_enabled()
