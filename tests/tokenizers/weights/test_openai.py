"""OpenAI's dVAE at random weights, computed a second time from the plain description of its layers."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from calligram.cli.main import main
from calligram.errors import UserError
from calligram.tokenizers.run import load_tokenizer
from calligram.tokenizers.weights.source import open_image_tokenizer
from tests.tokenizers.kinds import pictures

WIDTH, STEM, VOCAB, GROUPS, BLOCKS = 8, 12, 30, 4, 2
State = dict[str, torch.Tensor]


def weights(seed: int = 0) -> dict[str, State]:
    """Of the names and shapes that were published, but narrower: {"encoder": ..., "decoder": ...}."""
    generator = torch.Generator().manual_seed(seed)

    def layer(state: State, name: str, before: int, after: int, kernel: int) -> None:
        state[f"{name}.w"] = torch.randn(after, before, kernel, kernel, generator=generator) / (before**0.5 * kernel)
        state[f"{name}.b"] = torch.randn(after, generator=generator) * 0.3

    def half(outermost: list[int], kernels: tuple[int, ...], first: tuple[int, int, int], last: int) -> State:
        state: State = {}
        layer(state, "blocks.input", *first)
        before = first[1]
        for group, after in enumerate(outermost, start=1):
            for block in range(1, BLOCKS + 1):
                name = f"blocks.group_{group}.block_{block}"
                if before != after:
                    layer(state, f"{name}.id_path", before, after, 1)
                widths = [before, after // 4, after // 4, after // 4, after]
                for conv, kernel in enumerate(kernels, start=1):
                    layer(state, f"{name}.res_path.conv_{conv}", widths[conv - 1], widths[conv], kernel)
                before = after
        layer(state, "blocks.output.conv", before, last, 1)
        state["blocks.output.conv.b"] = -state["blocks.output.conv.w"].sum((1, 2, 3)) / 2  # many ids are chosen
        return state

    widths = [WIDTH * 2**group for group in range(GROUPS)]
    return {
        "encoder": half(widths, (3, 3, 3, 1), (3, WIDTH, 7), VOCAB),
        "decoder": half(widths[::-1], (1, 3, 3, 3), (VOCAB, STEM, 1), 6),
    }


def convolve(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    w = state[f"{name}.w"]
    return F.conv2d(x, w, state[f"{name}.b"], padding=(w.shape[-1] - 1) // 2)


def block(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    y = x
    for number in (1, 2, 3, 4):
        y = convolve(state, f"{name}.res_path.conv_{number}", y.clamp(min=0))
    skipped = convolve(state, f"{name}.id_path", x) if f"{name}.id_path.w" in state else x
    return skipped + y / (GROUPS * BLOCKS) ** 2


def half(state: State, x: torch.Tensor, between) -> torch.Tensor:
    x = convolve(state, "blocks.input", x)
    for group in range(1, GROUPS + 1):
        for number in range(1, BLOCKS + 1):
            x = block(state, f"blocks.group_{group}.block_{number}", x)
        if group < GROUPS:
            x = between(x)
    return convolve(state, "blocks.output.conv", x.relu())


def their_logits(state: State, images: torch.Tensor) -> torch.Tensor:
    return half(state, images * 0.8 + 0.1, lambda x: F.max_pool2d(x, 2))


def their_pictures(state: State, ids: torch.Tensor) -> torch.Tensor:
    codes = F.one_hot(ids, VOCAB).permute(0, 3, 1, 2).float()
    found = half(state, codes, lambda x: x.repeat_interleave(2, -1).repeat_interleave(2, -2))
    return ((found[:, :3].sigmoid() - 0.1) / 0.8).clamp(0, 1)


@pytest.fixture
def theirs() -> dict[str, State]:
    return weights()


@pytest.mark.parametrize(
    "kind", ["folder of .pt", "folder of .safetensors", "folder of .pkl", "one file", "short names"]
)
def test_their_weights_give_their_tokens_and_pictures(theirs, kind, tmp_path):
    source = tmp_path / "dvae"
    source.mkdir()
    if kind.startswith("folder"):
        suffix = kind.split()[-1]
        for name, state in theirs.items():
            save_file(state, source / f"{name}{suffix}") if "safe" in suffix else torch.save(
                state, source / f"{name}{suffix}"
            )
    else:
        source = source / "dvae.pt"
        names = {"encoder": "enc", "decoder": "dec"} if kind == "short names" else {}
        torch.save({f"{names.get(h, h)}.{n}": x for h, s in theirs.items() for n, x in s.items()}, source)
    model = open_image_tokenizer(source, image_size=32)
    assert model is not None and (model.grid, model.vocab_size, model.config.num_blocks) == (4, VOCAB, BLOCKS)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.encoder(images * 0.8 + 0.1), their_logits(theirs["encoder"], images))
    ids = their_logits(theirs["encoder"], images).argmax(1)
    assert len(ids.unique()) > 1
    assert torch.equal(model.encode(images), ids.flatten(1))
    torch.testing.assert_close(model.decode(ids.flatten(1)), their_pictures(theirs["decoder"], ids))


def test_published_sizes_are_the_defaults_of_the_paper():
    """8,192 codes of 256 pixels a side, 32 × 32 tokens, two blocks in each of four groups."""
    from calligram.tokenizers.dvae import DVAEConfig, DVAETokenizer

    config = DVAEConfig(image_size=256, vocab_size=8192, width=256, decoder_stem=128, num_groups=4, num_blocks=2)
    with torch.device("meta"):
        shapes = {name: tuple(x.shape) for name, x in DVAETokenizer(config).state_dict().items()}
    assert config.grid == 32
    assert shapes["encoder.blocks.input.weight"] == (256, 3, 7, 7)
    assert shapes["encoder.blocks.group_4.block_1.id_path.weight"] == (2048, 1024, 1, 1)
    assert shapes["encoder.blocks.output.conv.weight"] == (8192, 2048, 1, 1)
    assert shapes["decoder.blocks.input.weight"] == (128, 8192, 1, 1)
    assert shapes["decoder.blocks.group_1.block_1.res_path.conv_4.weight"] == (2048, 512, 3, 3)
    assert shapes["decoder.blocks.output.conv.weight"] == (6, 256, 1, 1)


def test_the_verb_makes_a_run_of_it(theirs, tmp_path, capsys):
    for name, state in theirs.items():
        torch.save(state, tmp_path / f"{name}.pkl")
    words = ["convert", str(tmp_path), "--out", str(tmp_path / "run"), "--image-size", "32"]
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run")
    images = pictures(2, 32)
    ids = their_logits(theirs["encoder"], images / 255).argmax(1).flatten(1)
    assert torch.equal(load_tokenizer(tmp_path / "run").encode(images), ids)


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickled_module_is_refused_and_not_run(theirs, tmp_path, capsys):
    torch.save(theirs["decoder"], tmp_path / "decoder.pkl")
    (tmp_path / "encoder.pkl").write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(UserError, match=r"encoder\.pkl is no file of weights that is safe to read"):
        open_image_tokenizer(tmp_path)
    assert "executed" not in capsys.readouterr().out


def test_half_a_dvae_is_refused(theirs, tmp_path):
    torch.save({f"encoder.{name}": x for name, x in theirs["encoder"].items()}, tmp_path / "dvae.pt")
    with pytest.raises(UserError, match=r"no decoder\.blocks\.input\.w: a dVAE is its encoder and its decoder"):
        open_image_tokenizer(tmp_path / "dvae.pt")
    other = {**theirs["decoder"]}
    other.pop("blocks.group_2.block_1.id_path.w")
    torch.save(
        {f"{h}.{n}": x for h, s in (theirs | {"decoder": other}).items() for n, x in s.items()}, tmp_path / "d.pt"
    )
    with pytest.raises(UserError, match="no weights of OpenAI's dVAE"):
        open_image_tokenizer(tmp_path / "d.pt")
