"""Both towers as ONNX graphs: another runtime computes the same, for any number of pictures and texts."""

import importlib.util

import numpy as np
import pytest
import torch

from calligram.clip.model import Clip, ClipConfig
from calligram.clip.towers import ResNetConfig, TextTowerConfig, ViTConfig
from calligram.clip.weights.onnx import export_onnx
from calligram.errors import UserError
from calligram.nn.transformer import TransformerConfig
from calligram.tokenizers.text import TextTokenizer
from tests.clip.weights.peers import perturbed

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
has_onnx = all(importlib.util.find_spec(name) for name in PACKAGES)
SMALL = TransformerConfig(width=32, num_layers=2, num_heads=2)
TEXTS = ["a red circle", "a blue square above a green ring", "ring"]
TOWERS = {
    "clip": (ViTConfig(patch=8, pool="class", pre_norm=True, transformer=SMALL), TextTowerConfig(transformer=SMALL)),
    "siglip": (
        ViTConfig(patch=8, pool="attention", transformer=SMALL.model_copy(update={"activation": "gelu_tanh"})),
        TextTowerConfig(causal=False, pool="last", transformer=SMALL),
    ),
    "stem": (
        ViTConfig(patch=8, stem=(8, 8), positions="rotary", transformer=SMALL),
        TextTowerConfig(token_shift=2, transformer=SMALL),
    ),
    "resnet": (ResNetConfig(blocks=(1, 1, 1, 1), channels=8, num_heads=4), TextTowerConfig(transformer=SMALL)),
}


@pytest.mark.skipif(not has_onnx, reason="the extra onnx is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TOWERS)
def test_onnxruntime_computes_the_same(name, tmp_path):
    import onnxruntime

    image, text = TOWERS[name]
    tokenizer = TextTokenizer.train(TEXTS, vocab_size=300, context_length=32)
    torch.manual_seed(0)
    model = Clip(
        ClipConfig(image_size=32, embed_dim=12, image=image, text=text), tokenizer.vocab_size, tokenizer.end_id
    )
    model = perturbed(model)
    assert isinstance(model, Clip)
    export_onnx(model, tokenizer, tmp_path / "onnx")
    images = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        expected = {"image": model.encode_image(images), "text": model.encode_text(tokenizer(TEXTS))}
    for part, given in (("image", {"images": images.numpy()}), ("text", {"text": tokenizer(TEXTS).numpy()})):
        session = onnxruntime.InferenceSession(tmp_path / "onnx" / f"{part}.onnx", providers=["CPUExecutionProvider"])
        for count in (1, len(next(iter(given.values())))):
            (found,) = session.run(None, {key: x[:count] for key, x in given.items()})
            np.testing.assert_allclose(found, expected[part][:count].numpy(), atol=2e-6, rtol=1e-4)
    assert TextTokenizer.load(tmp_path / "onnx" / "text_tokenizer.json").fingerprint == tokenizer.fingerprint


@pytest.mark.skipif(has_onnx, reason="the extra onnx is installed")
def test_what_is_missing_is_named(tmp_path):
    tokenizer = TextTokenizer.train(TEXTS, vocab_size=300)
    with pytest.raises(UserError, match=r"pip install 'calligram\[onnx\]'"):
        export_onnx(Clip(ClipConfig(), tokenizer.vocab_size, tokenizer.end_id), tokenizer, tmp_path / "onnx")
