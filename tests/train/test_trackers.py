"""Weights & Biases and trackio by the functions that both have; neither is installed for the tests."""

import sys
from types import SimpleNamespace

import pytest

from calligram import runs
from calligram.errors import UserError
from calligram.train import trackers
from tests.train.test_loop import CPU, LineTask, config, load_batches, train


class Recorder(SimpleNamespace):
    """Stands in for the module."""

    def __init__(self):
        super().__init__(started={}, rows=[], finished=0)

    def init(self, **options):
        self.started = options

    def log(self, row, step):
        self.rows.append((step, row["loss"]))

    def finish(self):
        self.finished += 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_service_gets_each_row(tmp_path, monkeypatch, name):
    module = Recorder()
    monkeypatch.setitem(sys.modules, name, module)
    runs.write_config(tmp_path, {"type": "line", "size": 3})
    train(LineTask(), load_batches, config(steps=20, trackers=("tensorboard", name)), tmp_path, CPU)
    assert module.rows == [(row["step"], row["loss"]) for row in runs.read_metrics(tmp_path)] and module.finished == 1
    assert module.started["config"] == {"type": "line", "size": 3} and module.started["resume"] == "allow"
    assert module.started["project"] == "calligram" and list(tmp_path.glob("events*"))
    first = module.started.get("id")
    train(LineTask(), load_batches, config(steps=40, trackers=(name,)), tmp_path, CPU)
    assert module.started.get("id") == first and [step for step, _ in module.rows] == [10, 20, 30, 40]


def test_one_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        UserError, match=r"--train.trackers wandb: it is not installed; pip install 'calligram\[wandb\]'"
    ):
        trackers.check(("tensorboard", "wandb"))
