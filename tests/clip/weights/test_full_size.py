"""The models of the field in full size, built at random by their own libraries, and ours with the same weights.

pytest -m slow -s tests/clip/weights/test_full_size.py
"""

import copy

import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from torch import nn
from transformers import CLIPConfig, CLIPModel, Siglip2Config, Siglip2Model, SiglipConfig, SiglipModel

from calligram.clip.model import Clip
from calligram.clip.weights.export import export_hf
from calligram.clip.weights.hf import config_from_hf, hf_rules
from calligram.clip.weights.layout import Rule, State, to_ours, to_theirs
from calligram.clip.weights.open_clip import config_from_open_clip
from calligram.clip.weights.open_clip_names import open_clip_rules, plain_names
from calligram.clip.zero_shot import ClipPipeline
from calligram.tokenizers.text import TextTokenizer
from tests.clip.weights.naflex import native_differences
from tests.clip.weights.peers import (
    CLOSE,
    differences,
    full_config,
    list_tensors,
    our_model,
    perturbed,
    some_texts,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
NAMES = ("ViT-B-32-quickgelu", "ViT-B-16", "ViT-L-14-336", "RN50", "ViT-B-16-SigLIP", "ViT-L-14-CLIPA")
SMALL_SPREAD = (0.05, 0.005)  # twelve layers and more amplify what is done to them


def report(name: str, found: tuple[float, float, float]) -> None:
    print(f"{name}: image {found[0]:.1e}, text {found[1]:.1e}, logits {found[2]:.1e} relative")
    assert max(found) < CLOSE


def comes_back(ours: nn.Module, rules: list[Rule], expected: State) -> bool:
    state = to_theirs(ours.state_dict(), rules)
    return state.keys() == expected.keys() and all(torch.equal(state[key], expected[key]) for key in state)


@pytest.mark.parametrize("name", NAMES)
def test_of_open_clip(name):
    model_config = full_config(name)
    config = config_from_open_clip(model_config, {})
    kind = CustomTextCLIP if model_config.pop("custom_text", False) else CLIP
    torch.manual_seed(0)
    # a ResNet's blocks begin with a gain of zero: with little noise all pictures look alike
    theirs = perturbed(kind(**copy.deepcopy(model_config)), *((0.3, 0.03) if name == "RN50" else SMALL_SPREAD))
    vocab = model_config["text_cfg"]["vocab_size"]
    rules, expected = open_clip_rules(config), plain_names(list_tensors(theirs))
    ours = our_model(config, to_ours(expected, rules), vocab, vocab - 1)
    report(name, differences(ours, theirs, some_texts(config.text.context_length, vocab, vocab - 1)))
    assert comes_back(ours, rules, expected)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_of_transformers(kind):
    torch.manual_seed(0)
    theirs = perturbed(CLIPModel(CLIPConfig()) if kind == "clip" else SiglipModel(SiglipConfig()), *SMALL_SPREAD)
    found = config_from_hf(theirs.config.to_dict(), {})
    rules, expected = hf_rules(found.config), list_tensors(theirs)
    ours = our_model(found.config, to_ours(expected, rules), found.vocab_size, found.end_id)
    text = some_texts(found.config.text.context_length, found.vocab_size, found.end_id)
    report(type(theirs).__name__, differences(ours, theirs, text))
    assert comes_back(ours, rules, expected)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_transformers_reads_a_folder_of_ours(kind, tmp_path):
    """Of the sizes of openai/clip-vit-base-patch32 and google/siglip-base-patch16-224, its configs' defaults."""
    found = config_from_hf((CLIPConfig() if kind == "clip" else SiglipConfig()).to_dict(), {})
    tokenizer = TextTokenizer.train(["a red circle", "two blue squares"], 300, found.config.text.context_length)
    end = found.end_id if kind == "clip" else tokenizer.end_id  # a CLIPModel takes 2 for an old mistake
    ids = {"pad_id": tokenizer.pad_id, "start_id": tokenizer.start_id, "end_id": end}
    words = TextTokenizer(tokenizer.bpe, context_length=tokenizer.context_length, vocab_size=found.vocab_size, **ids)
    torch.manual_seed(0)
    ours = perturbed(Clip(found.config, found.vocab_size, end), *SMALL_SPREAD)
    assert isinstance(ours, Clip)
    export_hf(ours, words, tmp_path / "hf")
    theirs = (CLIPModel if kind == "clip" else SiglipModel).from_pretrained(tmp_path / "hf").eval()
    text = some_texts(words.context_length, found.vocab_size, end)
    report(f"{type(theirs).__name__}.from_pretrained", differences(ours, theirs, text))


def test_of_transformers_with_pictures_of_any_size():
    torch.manual_seed(0)
    theirs = perturbed(Siglip2Model(Siglip2Config()), *SMALL_SPREAD)
    found = config_from_hf(theirs.config.to_dict(), {})
    rules, expected = hf_rules(found.config), list_tensors(theirs)
    ours = our_model(found.config, to_ours(expected, rules), found.vocab_size, found.end_id)
    text = some_texts(found.config.text.context_length, found.vocab_size, found.end_id)
    clip = ClipPipeline(ours, TextTokenizer.train(["a"], context_length=64))
    report("Siglip2Model", native_differences(clip, theirs, 256, text))
    assert comes_back(ours, rules, expected)
