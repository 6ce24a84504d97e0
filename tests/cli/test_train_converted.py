"""`calligram convert`, then `calligram train ... --init`: a training begins where a model of others ended."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from calligram import load_clip, runs
from calligram.cli.main import main
from calligram.clip.model import Clip
from tests.clip.weights.peers import list_tensors, open_clip_model, perturbed

VOCAB = 49408  # CLIP's, as in the presets
SIZE = 32
OPEN_CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": SIZE, "patch_size": 8, "width": 48, "head_width": 12, "layers": 2},
    "text_cfg": {"context_length": 20, "vocab_size": VOCAB, "width": 32, "heads": 4, "layers": 2},
}
SAME_AS_THEIRS = """
    --model.embed-dim 24 --model.image.patch 8
    --model.image.transformer.width 48 --model.image.transformer.num-heads 4 --model.image.transformer.num-layers 2
    --model.text.transformer.width 32 --model.text.transformer.num-heads 4 --model.text.transformer.num-layers 2
    --model.text.context-length 20
""".split()
THREE_STEPS = "--train.steps 3 --train.batch-size 8 --train.warmup-steps 1 --train.lr 1e-3 --data.num-workers 0".split()


def of_open_clip(folder: Path) -> list[str]:
    """A folder as open_clip pushes it to the hub."""
    folder.mkdir()
    save_file(list_tensors(open_clip_model(OPEN_CLIP)), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": OPEN_CLIP, "preprocess_cfg": {}}))
    return SAME_AS_THEIRS


def of_hugging_face(folder: Path) -> list[str]:
    """A CLIPModel as transformers saves it, with QuickGELU."""
    both = {"num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**both, "hidden_size": 32, "intermediate_size": 128, "max_position_embeddings": 20, "vocab_size": VOCAB}
    text |= {"bos_token_id": VOCAB - 2, "eos_token_id": VOCAB - 1}
    image = {**both, "hidden_size": 48, "intermediate_size": 192, "image_size": SIZE, "patch_size": 8}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=image, projection_dim=24)
    perturbed(CLIPModel(config)).save_pretrained(folder)  # pyright: ignore[reportAttributeAccessIssue]
    quick = [f"--model.{tower}.transformer.activation" for tower in ("image", "text")]
    return [*SAME_AS_THEIRS, quick[0], "quick_gelu", quick[1], "quick_gelu"]


@pytest.fixture
def seen(monkeypatch) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """What models were given while they trained, and what they made of it."""
    found: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    def spied(name: str):
        encode = getattr(Clip, name)

        def spy(self, x):
            out = encode(self, x)
            if self.training:
                found.append((name, x.clone(), out.detach().clone()))
            return out

        return spy

    for name in ("encode_image", "encode_text"):
        monkeypatch.setattr(Clip, name, spied(name))
    return found


@pytest.mark.parametrize("size", [SIZE, 2 * SIZE])
@pytest.mark.parametrize("make", [of_open_clip, of_hugging_face])
def test_a_training_begins_as_the_converted_model(make, size, tiny_runs, tmp_path, monkeypatch, seen, capsys):
    monkeypatch.chdir(tmp_path)
    flags = make(tmp_path / "theirs")
    assert main(["convert", "theirs", "--out", "converted"]) == 0
    words = ["train", "clip-vit-b-32", "--init", "converted", "--data.shards", str(tiny_runs.shards), "--out", "run"]
    capsys.readouterr()
    assert main([*words, *flags, *THREE_STEPS, "--model.image-size", str(size)]) == 0
    out, err = capsys.readouterr()
    assert out == "run\n" and "--init" not in err, "nothing is left out, and nothing is otherwise"

    begun = load_clip("converted", image_size=None if size == SIZE else size)
    first = {name: (x, vectors) for name, x, vectors in reversed(seen)}  # of each name the first
    assert first["encode_image"][0].shape[-1] == size and len(seen) == 6
    for name, (x, vectors) in first.items():
        with torch.no_grad():
            expected = getattr(begun.model, name)(x)
        assert torch.pdist(expected).max() > 0.01
        torch.testing.assert_close(vectors, expected, atol=1e-6, rtol=1e-5)

    trained = load_clip("run")
    assert not torch.equal(trained.model.text_projection.weight, begun.model.text_projection.weight), "it has learnt"
    words_of = [(tmp_path / name / runs.TEXT_TOKENIZER).read_bytes() for name in ("converted", "run")]
    assert words_of[0] == words_of[1]
    assert trained.embed_images(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape == (1, 24)
