import json

import pytest
import torch
from torch import nn

from calligram import runs
from calligram.errors import UserError
from calligram.train import checkpoint


def model_and_optimizer(seed=0, channels_last=False):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)


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
    checkpoint.save(tmp_path, 2, model, optimizer, keep_last=1)
    take_steps(model, optimizer)
    other, other_optimizer = model_and_optimizer(seed=1, channels_last=channels_last)
    assert checkpoint.restore(tmp_path, other, other_optimizer) == 2
    take_steps(other, other_optimizer)
    theirs = other.state_dict()
    assert all(torch.equal(x, theirs[name]) for name, x in model.state_dict().items())


def test_without_a_checkpoint_training_begins_at_step_0(tmp_path):
    model, optimizer = model_and_optimizer()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    assert checkpoint.restore(tmp_path / "new", model, optimizer) == 0
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_the_newest_is_taken_and_the_last_ones_are_kept(tmp_path):
    model, optimizer = model_and_optimizer()
    for step in (999_998, 999_999, 1_000_000, 1_000_001):  # numbers that do not sort as their names do
        take_steps(model, optimizer, 1)
        checkpoint.save(tmp_path, step, model, optimizer, keep_last=2)
    assert [p.name for p in runs.checkpoints(tmp_path)] == ["step_1000000", "step_1000001"]
    assert checkpoint.restore(tmp_path, *model_and_optimizer(1)) == 1_000_001
    assert runs.weights(tmp_path) == tmp_path / "step_1000001" / "model.safetensors"


def test_a_step_is_overwritten(tmp_path):
    model, optimizer = model_and_optimizer()
    checkpoint.save(tmp_path, 2, model, optimizer, keep_last=2)
    take_steps(model, optimizer)
    checkpoint.save(tmp_path, 2, model, optimizer, keep_last=2)
    other, other_optimizer = model_and_optimizer(1)
    checkpoint.restore(tmp_path, other, other_optimizer)
    assert torch.equal(other[0].weight, model[0].weight)


def test_what_a_kill_left_half_written_is_not_a_checkpoint(tmp_path, monkeypatch):
    model, optimizer = model_and_optimizer()
    checkpoint.save(tmp_path, 2, model, optimizer, keep_last=1)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("calligram.train.checkpoint._optimizer_state", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path, 4, model, optimizer, keep_last=1)
    (tmp_path / "step_000006").mkdir()
    assert [p.name for p in runs.checkpoints(tmp_path)] == ["step_000002"]
    assert checkpoint.restore(tmp_path, *model_and_optimizer(1)) == 2
    checkpoint.save(tmp_path, 4, model, optimizer, keep_last=1)
    assert [p.name for p in runs.checkpoints(tmp_path)] == ["step_000004"]
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize("name", ["optimizer.safetensors", "state.json"])
def test_a_checkpoint_that_cannot_be_resumed_is_named(tmp_path, name):
    model, optimizer = model_and_optimizer()
    folder = checkpoint.save(tmp_path, 2, model, optimizer, keep_last=1)
    (folder / name).write_bytes(b"\xff spoilt")
    with pytest.raises(UserError, match=r"step_000002 cannot be resumed"):
        checkpoint.restore(tmp_path, model, optimizer)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"step_000002 cannot be resumed, it has no {name}"):
        checkpoint.restore(tmp_path, model, optimizer)


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path):
    model, optimizer = model_and_optimizer()
    take_steps(model, optimizer, 1)
    folder = checkpoint.save(tmp_path, 1, model, optimizer, keep_last=1)
    assert sorted(p.name for p in folder.iterdir()) == ["model.safetensors", "optimizer.safetensors", "state.json"]
    assert json.loads((folder / "state.json").read_text()) == {"step": 1, "data": None}
