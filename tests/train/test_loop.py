import json
import logging
import math
from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from calligram import runs
from calligram.errors import UserError
from calligram.train import loop
from calligram.train.config import TrainConfig
from calligram.train.ema import Ema
from calligram.train.precision import autocast_for

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
        assert row.keys() == {"step", "loss", "grad_norm", "largest_x", "lr", "samples_per_s", "data_wait", "epoch"}
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


def without_times(run) -> list[dict]:
    return [row | {"samples_per_s": 0, "data_wait": 0} for row in runs.read_metrics(run)]


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
    rows = [without_times(tmp_path / run) for run in ("whole", "resumed")]
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


def spoilt(steps):
    """Batches with no numbers at some steps."""

    def load(first, last):
        for step, batch in enumerate(load_batches(first, last), start=first):
            yield {**batch, "y": batch["y"] * (math.nan if step in steps else 1)}

    return load


class NormedTask(LineTask):
    """With statistics that a forward pass changes."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))

    def forward(self, batch):
        # all of the picture is spoilt, not the loss alone
        return super().forward({**batch, "x": batch["x"] + 0 * batch["y"]})


def test_a_batch_without_numbers_is_skipped_and_counted(tmp_path, caplog):
    task = NormedTask()
    train(task, spoilt({24, 25, 26, 40}), config(), tmp_path, CPU)
    rows = runs.read_metrics(tmp_path)
    assert [row.get("skipped_steps", 0) for row in rows] == [0, 0, 3, 3, 4, 4]
    assert all(math.isfinite(row["loss"]) for row in rows) and rows[-1]["loss"] < 0.1 * rows[0]["loss"]
    assert all(x.isfinite().all() for x in task.model.state_dict().values())
    assert "step 25 skipped: the norm of its gradient is nan" in caplog.text


def test_a_skipped_step_leaves_everything_as_it_was(tmp_path):
    train(NormedTask(), load_batches, config(steps=20, schedule="constant"), tmp_path / "20", CPU)
    train(NormedTask(), spoilt({20}), config(steps=21, schedule="constant"), tmp_path / "21", CPU)
    before, after = (load_file(tmp_path / str(steps) / f"step_0000{steps}" / runs.MODEL) for steps in (20, 21))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_ten_in_a_row_end_the_training_with_a_report(tmp_path):
    with pytest.raises(
        UserError, match=r"10 steps in a row, 26 to 35, .* \(11 in all\): try a lower --train\.lr than 0\.2"
    ):
        train(LineTask(), spoilt({3, *range(25, 60)}), config(save_every=10), tmp_path, CPU)
    assert [p.name for p in runs.checkpoints(tmp_path)] == ["step_000020", "step_000030"]
    weights = load_file(runs.weights(tmp_path))
    assert all(x.isfinite().all() for x in weights.values())


def test_the_count_of_bad_steps_survives_a_resume(tmp_path):
    for steps in (35, 60):
        context = pytest.raises(UserError, match="10 steps in a row, 32 to 41") if steps == 60 else nullcontext()
        with context:
            train(LineTask(), spoilt(range(31, 60)), config(steps=steps, schedule="constant"), tmp_path, CPU)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_gives_the_same_training(tmp_path, parts):
    tasks = [LineTask(), LineTask()]
    train(tasks[0], load_batches, config(), tmp_path / "whole", CPU)
    train(tasks[1], load_batches, config(accumulate=parts), tmp_path / "parts", CPU)
    torch.testing.assert_close(tasks[0].model[0].weight, tasks[1].model[0].weight, atol=1e-5, rtol=1e-5)
    ours, theirs = (runs.read_metrics(tmp_path / name)[-1] for name in ("parts", "whole"))
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)


def test_the_average_of_the_weights_is_saved_and_what_others_load(tmp_path):
    task = LineTask()
    train(task, load_batches, config(steps=20, ema_decay=0.9), tmp_path, CPU)
    folder = tmp_path / "step_000020"
    assert runs.weights(tmp_path) == folder / "ema.safetensors"
    last, average = load_file(folder / runs.MODEL), load_file(folder / "ema.safetensors")
    assert last.keys() == average.keys() and not torch.equal(last["0.weight"], average["0.weight"])


def test_an_average_is_that_of_the_steps():
    model = nn.Linear(1, 1, bias=False)
    ema, expected = Ema(model, 0.5), model.weight.item()
    for step in range(1, 20):
        nn.init.constant_(model.weight, step)
        ema.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert ema.state_dict()["weight"].item() == pytest.approx(expected, rel=1e-5)
