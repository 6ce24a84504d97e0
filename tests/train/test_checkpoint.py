import json

import pytest
import torch
from torch import nn

from calligram import runs
from calligram.errors import UserError
from calligram.train import checkpoint
from calligram.train.checkpoint import Keep
from calligram.train.state import TrainingState


def model_and_optimizer(seed=0, channels_last=False):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)


def save(run, step, model, optimizer, last=2, every=0):
    writer = checkpoint.Writer(run, Keep(last, every))
    writer.save(step, TrainingState(model, optimizer))
    writer.wait()
    return runs.step_folder(run, step)


def restore(run, model, optimizer):
    return checkpoint.restore(run, TrainingState(model, optimizer))


def take_steps(model, optimizer, count=2):
    for step in range(count):
        x = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(step))
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("channels_last", [False, True])
def test_training_goes_on_from_a_checkpoint_bit_for_bit(tmp_path, channels_last):
    """Also where weights lie in memory otherwise than on disk: AdamW's fused kernel walks the memory."""
    model, optimizer = model_and_optimizer(channels_last=channels_last)
    take_steps(model, optimizer)
    save(tmp_path, 2, model, optimizer, 1)
    take_steps(model, optimizer)
    other, other_optimizer = model_and_optimizer(seed=1, channels_last=channels_last)
    assert restore(tmp_path, other, other_optimizer) == 2
    take_steps(other, other_optimizer)
    theirs = other.state_dict()
    assert all(torch.equal(x, theirs[name]) for name, x in model.state_dict().items())


def test_without_a_checkpoint_training_begins_at_step_0(tmp_path):
    model, optimizer = model_and_optimizer()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    assert restore(tmp_path / "new", model, optimizer) == 0
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_the_newest_is_taken_and_the_last_ones_are_kept(tmp_path):
    model, optimizer = model_and_optimizer()
    for step in (999_998, 999_999, 1_000_000, 1_000_001):  # numbers that do not sort as their names do
        take_steps(model, optimizer, 1)
        save(tmp_path, step, model, optimizer)
    assert [p.name for p in runs.checkpoints(tmp_path)] == ["step_1000000", "step_1000001"]
    assert restore(tmp_path, *model_and_optimizer(1)) == 1_000_001
    assert runs.weights(tmp_path) == tmp_path / "step_1000001" / "model.safetensors"


def test_a_step_is_overwritten(tmp_path):
    model, optimizer = model_and_optimizer()
    save(tmp_path, 2, model, optimizer)
    take_steps(model, optimizer)
    save(tmp_path, 2, model, optimizer)
    other, other_optimizer = model_and_optimizer(1)
    restore(tmp_path, other, other_optimizer)
    assert torch.equal(other[0].weight, model[0].weight)


def test_what_a_kill_left_half_written_is_not_a_checkpoint(tmp_path, monkeypatch):
    model, optimizer = model_and_optimizer()
    save(tmp_path, 2, model, optimizer, 1)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("calligram.train.checkpoint._flush", killed)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 4, model, optimizer, 1)
    (tmp_path / "step_000006").mkdir()
    assert [p.name for p in runs.checkpoints(tmp_path)] == ["step_000002"]
    assert restore(tmp_path, *model_and_optimizer(1)) == 2
    save(tmp_path, 4, model, optimizer, 1)
    assert [p.name for p in runs.checkpoints(tmp_path)] == ["step_000004"]
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize("name", ["optimizer.safetensors", "state.json"])
def test_a_checkpoint_that_cannot_be_resumed_is_named(tmp_path, name):
    model, optimizer = model_and_optimizer()
    folder = save(tmp_path, 2, model, optimizer, 1)
    (folder / name).write_bytes(b"\xff spoilt")
    with pytest.raises(UserError, match=rf"step_000002 cannot be resumed from: ({name} is damaged|.*decode byte)"):
        restore(tmp_path, model, optimizer)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"step_000002 cannot be resumed from: it has no {name}, and no other"):
        restore(tmp_path, model, optimizer)


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path):
    model, optimizer = model_and_optimizer()
    take_steps(model, optimizer, 1)
    folder = save(tmp_path, 1, model, optimizer, 1)
    assert sorted(p.name for p in folder.iterdir()) == ["model.safetensors", "optimizer.safetensors", "state.json"]
    assert json.loads((folder / "state.json").read_text())["step"] == 1


def test_a_damaged_newest_checkpoint_is_told_set_aside_and_the_one_before_it_taken(tmp_path, caplog):
    model, optimizer = model_and_optimizer()
    for step in (2, 4, 6):
        take_steps(model, optimizer)
        save(tmp_path, step, model, optimizer, 5)
    for step, name in ((4, "model"), (6, "optimizer")):
        file = tmp_path / f"step_00000{step}" / f"{name}.safetensors"
        data = bytearray(file.read_bytes())
        data[-3] ^= 4  # one bit, in the numbers themselves
        file.write_bytes(data)
    assert restore(tmp_path, *model_and_optimizer(1)) == 2
    assert (
        "step_000006 cannot be resumed from: optimizer.safetensors is damaged; going on from step_000002" in caplog.text
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "latest",
        "step_000002",
        "step_000004.damaged",
        "step_000006.damaged",
    ]


def test_some_checkpoints_are_never_deleted(tmp_path):
    model, optimizer = model_and_optimizer()
    for step in range(10, 80, 10):
        save(tmp_path, step, model, optimizer, 2, every=30)
    assert [runs.step_of(p) for p in runs.checkpoints(tmp_path)] == [30, 60, 70]
    assert (tmp_path / "latest").resolve().name == "step_000070"


def test_a_disk_that_does_not_take_it(tmp_path, monkeypatch):
    model, optimizer = model_and_optimizer()
    save(tmp_path, 2, model, optimizer)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_flush", full)
    with pytest.raises(UserError, match=r"step_000004 cannot be written \(No space left on device\): make room"):
        save(tmp_path, 4, model, optimizer)
    assert restore(tmp_path, *model_and_optimizer(1)) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step_000002"]


def test_an_error_in_the_background_reaches_the_training(tmp_path, monkeypatch):
    model, optimizer = model_and_optimizer()
    writer = checkpoint.Writer(tmp_path / "file" / "run", Keep())
    (tmp_path / "file").write_text("in the way")
    writer.save(2, TrainingState(model, optimizer))
    with pytest.raises(UserError, match="step_000002 cannot be written"):
        writer.wait()
    writer.wait()  # told once


def test_what_is_saved_is_the_step_at_which_it_was_asked_for(tmp_path):
    """Though the model goes on meanwhile."""
    model, optimizer = model_and_optimizer()
    writer, before = checkpoint.Writer(tmp_path, Keep()), model[3].weight.detach().clone()
    writer.save(2, TrainingState(model, optimizer))
    with torch.no_grad():
        model[3].weight.add_(1)
    writer.wait()
    other, other_optimizer = model_and_optimizer(1)
    assert restore(tmp_path, other, other_optimizer) == 2
    assert torch.equal(other[3].weight, before)
