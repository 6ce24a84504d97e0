"""Files of weights: read, and nothing in them run."""

import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from calligram.clip.weights.archive import is_archive, read_archive
from calligram.clip.weights.files import read_folder, read_state
from calligram.errors import UserError
from tests.clip.weights.peers import OPEN_CLIP, list_tensors, open_clip_model


class Like(nn.Module):
    """Such as OpenAI's archives: nested modules, buffers that are numbers, half precision, shared storage."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        self.table = nn.Parameter(torch.randn(4, 6).T)  # not contiguous
        self.register_buffer("input_resolution", torch.tensor(224))
        self.register_buffer("empty", torch.zeros(0))

    def forward(self, x):
        return self.inner(x)


def test_an_archive_has_what_torch_finds_in_it(tmp_path):
    torch.manual_seed(0)
    script = torch.jit.script(Like()).half()
    torch.jit.save(script, tmp_path / "model.pt")
    assert is_archive(tmp_path / "model.pt")
    found, expected = read_archive(tmp_path / "model.pt"), script.state_dict()
    assert found.keys() == expected.keys()
    for name in found:
        assert found[name].dtype == expected[name].dtype
        assert torch.equal(found[name], expected[name]), name
    assert "input_resolution" not in read_state(tmp_path / "model.pt")


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", ["vit-quickgelu", "resnet"])
def test_a_traced_clip_is_read_whole(name, tmp_path):
    model = open_clip_model(OPEN_CLIP[name])
    size = OPEN_CLIP[name]["vision_cfg"]["image_size"]
    traced = torch.jit.trace(
        model, (torch.rand(1, 3, size, size), torch.ones(1, 9, dtype=torch.long)), check_trace=False
    )
    torch.jit.save(traced, tmp_path / "model.pt")
    found, expected = read_state(tmp_path / "model.pt"), list_tensors(model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_a_state_dict_is_found_in_each_kind_of_file(tmp_path):
    state = {"a.weight": torch.randn(2, 3), "b": torch.tensor(1.5)}
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": x for k, x in state.items()}}, tmp_path / "training.pt")
    save_file(state, tmp_path / "model.safetensors")
    for name in ("plain.pt", "training.pt", "model.safetensors"):
        found = read_state(tmp_path / name)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[key], state[key]) for key in state)
    assert not is_archive(tmp_path / "plain.pt")


def test_weights_in_several_files_are_put_together(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.zeros(2)}, tmp_path / "model-2.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}')
    assert read_folder(tmp_path, ("model.safetensors",)).keys() == {"a", "b"}
    index.write_text('{"weight_map": {"a": "../elsewhere.safetensors"}}')
    with pytest.raises(UserError, match="not in its folder"):
        read_folder(tmp_path, ("model.safetensors",))


class Planted:
    """What a pickle may do to whoever unpickles it."""

    def __reduce__(self):
        return (open, ("planted", "w"))


def test_nothing_that_is_planted_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Planted()}, "state.pt")
    with pytest.raises(UserError, match="no file of weights that is safe to read"):
        read_state(tmp_path / "state.pt")
    with zipfile.ZipFile("archive.pt", "w") as file:
        file.writestr("archive/constants.pkl", b"")
        file.writestr("archive/data.pkl", pickle.dumps(Planted(), protocol=2))
    # the call is read as a name with arguments, and a module of that kind has no tensors
    assert read_archive(tmp_path / "archive.pt") == {}
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x02X", b"\x80\x02}q\x00.", pickle.dumps([1, 2, {3}], protocol=4)])
def test_a_damaged_archive_is_told_in_a_line(data, tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.pt", "w") as file:
        file.writestr("archive/constants.pkl", b"")
        file.writestr("archive/data.pkl", data)
    with pytest.raises(UserError, match="not a TorchScript archive that can be read"):
        read_archive(tmp_path / "archive.pt")


def test_a_tensor_beyond_its_bytes_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(Like()), tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "cut.pt", "w") as cut:
        for name in whole.namelist():
            data = whole.read(name)
            cut.writestr(name, data[:8] if "/data/" in name else data)
    with pytest.raises(UserError, match="not a TorchScript archive"):
        read_archive(tmp_path / "cut.pt")


def test_what_holds_no_weights_is_told(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds no state dict"):
        read_state(tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UserError, match="no file of weights"):
        read_state(tmp_path / "text.pt")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(UserError, match="not a safetensors file"):
        read_state(tmp_path / "text.safetensors")
    with pytest.raises(UserError, match="there is no file"):
        read_state(tmp_path / "nothing.pt")
