import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from calligram import runs
from calligram.errors import UserError


def test_a_config_comes_back_and_its_type_is_checked(tmp_path):
    runs.write_config(tmp_path / "run", {"type": "clip", "name": "größer"})
    assert runs.read_config(tmp_path / "run", "clip") == {"type": "clip", "name": "größer"}
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["config.json"]
    with pytest.raises(UserError, match="run is a clip run, but a dalle run is needed here"):
        runs.read_config(tmp_path / "run", "dalle")


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'"type"', b"\xff"])
def test_what_is_no_config_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="does not exist"):
        runs.read_config(tmp_path / "run")
    with pytest.raises(UserError, match=r"is not a run folder: it has no config\.json"):
        runs.read_config(tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json is not the config of a run"):
        runs.read_config(tmp_path)


def test_weights_are_the_newest_checkpoint_or_the_folders_own(tmp_path):
    with pytest.raises(UserError, match=r"has no weights: no step_\*/model.safetensors in it"):
        runs.weights(tmp_path)
    for step in (500, 1_000_000, 999_999):
        folder = runs.step_folder(tmp_path, step)
        folder.mkdir()
        (folder / runs.MODEL).touch()
    for name in ("step_2000000", "step_best", ".step_3000000.partial"):
        (tmp_path / name).mkdir()
    assert [runs.step_of(folder) for folder in runs.checkpoints(tmp_path)] == [500, 999_999, 1_000_000]
    assert runs.weights(tmp_path) == tmp_path / "step_1000000" / runs.MODEL
    (tmp_path / runs.MODEL).touch()
    assert runs.weights(tmp_path) == tmp_path / runs.MODEL


def test_of_a_step_that_was_written_twice_the_later_row_stands(tmp_path):
    assert runs.read_metrics(tmp_path) == []
    rows = [{"step": 20, "loss": 1.0}, {"step": 40, "loss": 2.0}, {"step": 20, "loss": 3.0}]
    (tmp_path / runs.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 60, "lo')
    assert runs.read_metrics(tmp_path) == [{"step": 20, "loss": 3.0}, {"step": 40, "loss": 2.0}]


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "model.safetensors"
    saved, model = nn.Linear(2, 3), nn.Linear(2, 3)
    save_file(saved.state_dict(), path)
    runs.load_weights(model, path)
    assert torch.equal(model.weight, saved.weight) and torch.equal(model.bias, saved.bias)
    with pytest.raises(UserError, match="does not fit the model of its config"):
        runs.load_weights(nn.Linear(4, 3), path)
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match="is not a safetensors file"):
        runs.load_weights(model, path)
