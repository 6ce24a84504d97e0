import json
import logging
import math

import pytest
import torch
from torch import nn

from calligram import runs
from calligram.errors import UserError
from calligram.train import loop
from calligram.train.config import TrainConfig
from calligram.train.loop import autocast_for

CPU = torch.device("cpu")
TRUE_WEIGHT = torch.tensor([[1.0, -2.0, 0.5]])


class LineTask(nn.Module):
    """Find the plane that the batches lie on; dropout is there to need randomness."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 1), nn.Dropout(dropout))
        self.calls_after_step = 0

    def forward(self, batch):
        loss = (self.model(batch["x"]) - batch["y"]).square().mean()
        return loss, {"largest_x": batch["x"].max()}

    def after_step(self):
        self.calls_after_step += 1


def load_batches(first, last):
    """A pure function of the step, as the plan over shards is."""
    for step in range(first, last):
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        yield {"x": x, "y": x @ TRUE_WEIGHT.T + 3}


class Steps:
    """Batches that can be stopped and gone on with, as the data room has them."""

    def __init__(self, load, num_steps: int):
        self.load, self.num_steps, self.step = load, num_steps, 0

    def __iter__(self):
        for batch in self.load(self.step, self.num_steps):
            self.step += 1
            yield batch

    def facts(self) -> dict[str, float]:
        return {"epoch": self.step / 10}

    def state_dict(self) -> dict:
        return {"step": self.step}

    def load_state_dict(self, state_dict: dict) -> None:
        self.step = state_dict["step"]


def train(task, load, config, run, device) -> None:
    loop.train(task, Steps(load, config.steps), config, run, device)


def config(**fields) -> TrainConfig:
    defaults = {"steps": 60, "batch_size": 16, "lr": 0.2, "warmup_steps": 5, "log_every": 10, "save_every": 20}
    return TrainConfig(**{**defaults, **fields})


def test_the_loop_finds_what_there_is_to_find(tmp_path):
    task = LineTask()
    train(task, load_batches, config(weight_decay=0), tmp_path, CPU)
    torch.testing.assert_close(task.model[0].weight.data, TRUE_WEIGHT, atol=0.05, rtol=0)
    rows = runs.read_metrics(tmp_path)
    assert rows[-1]["loss"] < 0.02 * rows[0]["loss"]
    assert task.calls_after_step == 60


def test_metrics_are_means_over_the_steps_since_the_last_row(tmp_path):
    """At a learning rate of next to nothing the model stands still, so that the means can be had by hand."""
    task = LineTask()
    train(task, load_batches, config(steps=25, lr=1e-12), tmp_path, CPU)
    rows = [json.loads(line) for line in (tmp_path / runs.METRICS).read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 25]
    steps = {10: range(10), 20: range(10, 20), 25: range(20, 25)}
    for row in rows:
        batches = list(load_batches(steps[row["step"]].start, steps[row["step"]].stop))
        assert row["largest_x"] == pytest.approx(sum(float(b["x"].max()) for b in batches) / len(batches))
        with torch.no_grad():
            assert row["loss"] == pytest.approx(sum(float(task(b)[0]) for b in batches) / len(batches), rel=1e-5)
        assert row.keys() == {"step", "loss", "grad_norm", "largest_x", "lr", "samples_per_s", "epoch"}
        assert row["epoch"] == row["step"] / 10
        assert row["samples_per_s"] > 0
    assert rows[-1]["lr"] == pytest.approx(1e-12 * 0.02), "the last step has the last learning rate"


def test_tensorboard_gets_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(LineTask(), load_batches, config(steps=20), tmp_path, CPU)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    shown = {event.step: event.value for event in events.Scalars("loss")}
    assert shown == pytest.approx({row["step"]: row["loss"] for row in runs.read_metrics(tmp_path)})


def test_the_gradient_is_clipped(tmp_path):
    """With one step of plain size, Adam's average of the gradient is (1 - beta) times the clipped gradient."""
    from safetensors.torch import load_file

    train(LineTask(), load_batches, config(steps=1, grad_clip=0.01), tmp_path, CPU)
    state = load_file(tmp_path / "step_000001" / "optimizer.safetensors")
    averages = torch.cat([x.flatten() for name, x in state.items() if name.endswith("/exp_avg")])
    assert averages.norm().item() == pytest.approx(0.01 * (1 - 0.9), rel=1e-4)
    assert runs.read_metrics(tmp_path)[0]["grad_norm"] > 1, "what is reported is the norm before"


class Killed(Exception):
    pass


def killed_at(step):
    def load(first, last):
        for number, batch in enumerate(load_batches(first, last), start=first):
            if number == step:
                raise Killed
            yield batch

    return load


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    whole, resumed = LineTask(dropout=0.3), LineTask(dropout=0.3)
    train(whole, load_batches, config(), tmp_path / "whole", CPU)
    with pytest.raises(Killed):
        train(resumed, killed_at(47), config(), tmp_path / "resumed", CPU)
    assert [p.name for p in runs.checkpoints(tmp_path / "resumed")] == ["step_000020", "step_000040"]
    with (tmp_path / "resumed" / runs.METRICS).open("a") as file:
        file.write('{"step": 47, "lo')  # where the kill fell into the writing of a row
    resumed = LineTask(dropout=0.3)
    torch.manual_seed(999)  # whatever was drawn meanwhile
    train(resumed, load_batches, config(), tmp_path / "resumed", CPU)
    for name in ("model", "optimizer"):
        files = [tmp_path / run / "step_000060" / f"{name}.safetensors" for run in ("whole", "resumed")]
        assert files[0].read_bytes() == files[1].read_bytes()
    rows = [[{**row, "samples_per_s": 0} for row in runs.read_metrics(tmp_path / run)] for run in ("whole", "resumed")]
    assert rows[0] == rows[1]


def test_dropout_follows_the_seed(tmp_path):
    weights = []
    for number, seed in enumerate([0, 0, 1]):
        task = LineTask(dropout=0.3)
        train(task, load_batches, config(steps=5, seed=seed), tmp_path / str(number), CPU)
        weights.append(task.model[0].weight.data)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_finished_run_is_not_trained_again(tmp_path):
    train(LineTask(), load_batches, config(steps=20), tmp_path, CPU)
    before = (tmp_path / "step_000020" / runs.MODEL).read_bytes()
    train(LineTask(), killed_at(0), config(steps=20), tmp_path, CPU)
    assert (tmp_path / "step_000020" / runs.MODEL).read_bytes() == before


def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    train(LineTask(), load_batches, config(steps=20), tmp_path, CPU)
    other = LineTask()
    other.model = nn.Sequential(nn.Linear(4, 1))
    with pytest.raises(UserError, match="does not fit the model of its config"):
        train(other, load_batches, config(steps=40), tmp_path, CPU)


def test_bf16_is_autocast_and_fp32_is_not():
    x = torch.randn(4, 4)
    with autocast_for("bf16", CPU):
        assert (x @ x).dtype == torch.bfloat16
    for precision in ("fp32", "auto"):
        with autocast_for(precision, CPU):
            assert (x @ x).dtype == torch.float32


def test_auto_is_bf16_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *arguments: arguments)
    assert autocast_for("auto", torch.device("cuda")) == ("cuda", torch.bfloat16)
    assert autocast_for("fp32", torch.device("cuda")) != ("cuda", torch.bfloat16)


def test_a_cpu_without_bf16_is_warned_about(monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with caplog.at_level(logging.WARNING):
        autocast_for("bf16", CPU)
    assert "--train.precision fp32" in caplog.text


def test_a_run_that_diverges_stops_and_keeps_its_good_checkpoints(tmp_path):
    def broken(first, last):
        for step, batch in enumerate(load_batches(first, last), start=first):
            yield {**batch, "y": batch["y"] * (math.nan if step >= 25 else 1)}

    with pytest.raises(UserError, match=r"the loss is nan at step 30: try a lower --train\.lr than 0\.2"):
        train(LineTask(), broken, config(save_every=10), tmp_path, CPU)
    assert [p.name for p in runs.checkpoints(tmp_path)] == ["step_000010", "step_000020"]


def test_weights_that_are_not_numbers_are_not_saved(tmp_path):
    """Neither between two rows of metrics nor where only the gradient overflows."""

    class Overflowing(LineTask):
        def forward(self, batch):
            loss, metrics = super().forward(batch)
            return loss + self.model[0].bias.sum() * batch["slope"], metrics

    def steep(first, last):
        for step, batch in enumerate(load_batches(first, last), start=first):
            yield {**batch, "slope": torch.tensor(3e38 if step == 34 else 0.0)}

    task = Overflowing()
    nn.init.zeros_(task.model[0].bias)
    with pytest.raises(UserError, match=r"the (norm of the gradient|loss) is (inf|nan|-inf) at step 35"):
        train(task, steep, config(save_every=5, log_every=100, keep_last=9), tmp_path, CPU)
    assert runs.checkpoints(tmp_path)[-1].name == "step_000030"
