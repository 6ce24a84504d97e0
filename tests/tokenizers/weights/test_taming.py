"""VQGANs at random weights, computed a second time with the layers as they are described."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from calligram.cli.main import main
from calligram.errors import UserError
from calligram.tokenizers.run import load_tokenizer
from calligram.tokenizers.weights.source import open_image_tokenizer
from tests.tokenizers.kinds import pictures

State = dict[str, torch.Tensor]
SIZES = {
    "double_z": False,
    "z_channels": 24,
    "resolution": 32,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 2, 2],
    "num_res_blocks": 2,
    "attn_resolutions": [16],
    "dropout": 0.0,
}
PARAMS = {"embed_dim": 10, "n_embed": 50, "ddconfig": SIZES}
CONFIG = {"model": {"base_learning_rate": 4.5e-6, "target": "taming.models.vqgan.VQModel", "params": PARAMS}}
YAML = """model:
  base_learning_rate: 4.5e-06
  target: taming.models.vqgan.VQModel
  params:
    embed_dim: 10
    n_embed: 50
    ddconfig:
      double_z: false
      z_channels: 24
      resolution: 32
      in_channels: 3
      out_ch: 3
      ch: 32
      ch_mult: [1, 2, 2]
      num_res_blocks: 2
      attn_resolutions: [16]
      dropout: 0.0
"""


def weights() -> State:
    """Names and shapes as taming-transformers has them, written out level by level."""
    generator = torch.Generator().manual_seed(0)
    state: State = {}

    def conv(name: str, before: int, after: int, kernel: int) -> None:
        scale = 1 / (before * kernel**2) ** 0.5
        state[f"{name}.weight"] = torch.randn(after, before, kernel, kernel, generator=generator) * scale
        state[f"{name}.bias"] = torch.randn(after, generator=generator) * 0.1

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = 1 + 0.2 * torch.randn(channels, generator=generator)
        state[f"{name}.bias"] = 0.2 * torch.randn(channels, generator=generator)

    def res(name: str, before: int, after: int) -> None:
        norm(f"{name}.norm1", before)
        conv(f"{name}.conv1", before, after, 3)
        norm(f"{name}.norm2", after)
        conv(f"{name}.conv2", after, after, 3)
        if before != after:
            conv(f"{name}.nin_shortcut", before, after, 1)

    def attend(name: str, channels: int) -> None:
        norm(f"{name}.norm", channels)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.{part}", channels, channels, 1)

    def middle(name: str) -> None:
        res(f"{name}.block_1", 64, 64)
        attend(f"{name}.attn_1", 64)
        res(f"{name}.block_2", 64, 64)

    # sides 32, 16, 8; attention at 16
    conv("encoder.conv_in", 3, 32, 3)
    for level, (before, after) in enumerate([(32, 32), (32, 64), (64, 64)]):
        for i in range(2):
            res(f"encoder.down.{level}.block.{i}", after if i else before, after)
            if level == 1:
                attend(f"encoder.down.1.attn.{i}", after)
        if level < 2:
            conv(f"encoder.down.{level}.downsample.conv", after, after, 3)
    middle("encoder.mid")
    norm("encoder.norm_out", 64)
    conv("encoder.conv_out", 64, 24, 3)
    conv("quant_conv", 24, 10, 1)
    state["quantize.embedding.weight"] = torch.randn(50, 10, generator=generator)
    conv("post_quant_conv", 10, 24, 1)
    conv("decoder.conv_in", 24, 64, 3)
    middle("decoder.mid")
    for level, (before, after) in ((2, (64, 64)), (1, (64, 64)), (0, (64, 32))):
        for i in range(3):
            res(f"decoder.up.{level}.block.{i}", after if i else before, after)
            if level == 1:
                attend(f"decoder.up.1.attn.{i}", after)
        if level:
            conv(f"decoder.up.{level}.upsample.conv", after, after, 3)
    norm("decoder.norm_out", 32)
    conv("decoder.conv_out", 32, 3, 3)
    return state


class Theirs:
    """The forward passes by name, with loops where the fast ones have layers."""

    def __init__(self, state: State):
        self.state = state

    def conv(self, name: str, x: torch.Tensor, **how) -> torch.Tensor:
        w = self.state[f"{name}.weight"]
        return F.conv2d(x, w, self.state[f"{name}.bias"], **({"padding": w.shape[-1] // 2} | how))

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        parts = x.unflatten(1, (32, -1)).flatten(2)
        mean, variance = parts.mean(2, keepdim=True), parts.var(2, unbiased=False, keepdim=True)
        normed = ((parts - mean) / (variance + 1e-6).sqrt()).view_as(x)
        return normed * self.state[f"{name}.weight"][:, None, None] + self.state[f"{name}.bias"][:, None, None]

    def swish(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)

    def res(self, name: str, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(f"{name}.conv1", self.swish(self.norm(f"{name}.norm1", x)))
        y = self.conv(f"{name}.conv2", self.swish(self.norm(f"{name}.norm2", y)))
        return y + (self.conv(f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in self.state else x)

    def attend(self, name: str, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(f"{name}.norm", x)
        q, k, v = (self.conv(f"{name}.{part}", normed).flatten(2) for part in ("q", "k", "v"))
        shares = torch.softmax(torch.einsum("bci,bcj->bij", q, k) * q.shape[1] ** -0.5, dim=2)
        return x + self.conv(f"{name}.proj_out", torch.einsum("bij,bcj->bci", shares, v).view_as(x))

    def stage(self, name: str, x: torch.Tensor, count: int) -> torch.Tensor:
        for i in range(count):
            x = self.res(f"{name}.block.{i}", x)
            if f"{name}.attn.{i}.q.weight" in self.state:
                x = self.attend(f"{name}.attn.{i}", x)
        return x

    def middle(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self.res(f"{name}.block_2", self.attend(f"{name}.attn_1", self.res(f"{name}.block_1", x)))

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        x = self.conv("encoder.conv_in", images * 2 - 1)
        for level in (0, 1, 2):
            x = self.stage(f"encoder.down.{level}", x, 2)
            if level < 2:
                x = self.conv(f"encoder.down.{level}.downsample.conv", F.pad(x, (0, 1, 0, 1)), stride=2, padding=0)
        x = self.swish(self.norm("encoder.norm_out", self.middle("encoder.mid", x)))
        latent = self.conv("quant_conv", self.conv("encoder.conv_out", x))
        away = torch.cdist(latent.flatten(2).transpose(1, 2), self.state["quantize.embedding.weight"])
        return away.argmin(-1)

    def decode(self, ids: torch.Tensor) -> torch.Tensor:
        codes = self.state["quantize.embedding.weight"][ids].transpose(1, 2).unflatten(2, (8, 8))
        x = self.middle("decoder.mid", self.conv("decoder.conv_in", self.conv("post_quant_conv", codes)))
        for level in (2, 1, 0):
            x = self.stage(f"decoder.up.{level}", x, 3)
            if level:
                x = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
                x = self.conv(f"decoder.up.{level}.upsample.conv", x)
        x = self.conv("decoder.conv_out", self.swish(self.norm("decoder.norm_out", x)))
        return ((x + 1) / 2).clamp(0, 1)


@pytest.fixture(scope="module")
def theirs() -> State:
    return weights()


def write(folder, state: State, config: dict | str = YAML, suffix: str = ".ckpt"):
    path = folder / f"last{suffix}"
    extra = {**state, "loss.discriminator.main.0.weight": torch.zeros(3)}
    save_file(extra, path) if suffix == ".safetensors" else torch.save({"epoch": 3, "state_dict": extra}, path)
    settings = folder / ("model.yaml" if isinstance(config, str) else "model.json")
    settings.write_text(config if isinstance(config, str) else json.dumps(config))
    return path, settings


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("config", [YAML, CONFIG, PARAMS], ids=["yaml", "json", "params"])
def test_their_weights_give_their_tokens_and_pictures(theirs, suffix, config, tmp_path):
    path, settings = write(tmp_path, theirs, config, suffix)
    model = open_image_tokenizer(path, settings)
    assert model is not None and (model.grid, model.vocab_size, model.config.attention_at) == (8, 50, (16,))
    images = pictures(2, 32) / 255
    twin = Theirs(theirs)
    ids = twin.encode(images)
    assert len(ids.unique()) > 5
    assert torch.equal(model.encode(images), ids)
    torch.testing.assert_close(model.decode(ids), twin.decode(ids), atol=2e-5, rtol=1e-4)


def test_larger_pictures_have_more_tokens_by_the_same_layers(theirs, tmp_path):
    path, settings = write(tmp_path, theirs)
    model = open_image_tokenizer(path, settings, image_size=64)
    assert model is not None and model.grid == 16 and model.config.attention_at == (32,)
    images = pictures(1, 64) / 255
    assert torch.equal(model.encode(images), Theirs(theirs).encode(images))


def test_the_verb_makes_a_run_of_it(theirs, tmp_path, capsys):
    path, settings = write(tmp_path, theirs)
    assert main(["convert", str(path), "--config", str(settings), "--out", str(tmp_path / "run")]) == 0
    images = pictures(2, 32)
    assert torch.equal(load_tokenizer(tmp_path / "run").encode(images), Theirs(theirs).encode(images / 255))
    assert main(["convert", str(path), "--config", str(settings), "--out", str(tmp_path / "run")]) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_what_cannot_be_taken_over_is_refused_with_the_reason(theirs, tmp_path):
    path, _ = write(tmp_path, theirs)
    with pytest.raises(UserError, match=r"is a VQGAN: give the \.yaml or \.json that lies beside it as --config"):
        open_image_tokenizer(path)
    for changed, said in (
        ({**PARAMS, "ddconfig": {**SIZES, "double_z": True}}, "double_z is True"),
        ({**PARAMS, "ddconfig": {k: v for k, v in SIZES.items() if k != "ch"}}, "does not say 'ch'"),
        ({**PARAMS, "n_embed": 51}, "not of the VQGAN of the config"),
        ({"model": {"params": {}}}, "no model.params.ddconfig"),
        ({"model": {"target": "taming.models.vqgan.GumbelVQ", "params": PARAMS}}, "GumbelVQ is not taken over"),
    ):
        (tmp_path / "other.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match=said):
            open_image_tokenizer(path, tmp_path / "other.json")
    (tmp_path / "broken.yaml").write_text("model: [")
    with pytest.raises(UserError, match="is neither YAML nor JSON"):
        open_image_tokenizer(path, tmp_path / "broken.yaml")
    with pytest.raises(UserError, match="cannot read"):
        open_image_tokenizer(path, tmp_path / "nowhere.yaml")


def test_a_config_cannot_name_objects_of_python(theirs, tmp_path):
    path, _ = write(tmp_path, theirs)
    (tmp_path / "evil.yaml").write_text("model: !!python/object/apply:os.system ['true']")
    with pytest.raises(UserError, match="is neither YAML nor JSON"):
        open_image_tokenizer(path, tmp_path / "evil.yaml")
