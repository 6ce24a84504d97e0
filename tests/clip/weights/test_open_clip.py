"""Models of open_clip and ours with the same weights say the same, in both directions."""

import copy

import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from torch import nn

from calligram.clip.model import Clip
from calligram.clip.towers import HFTextConfig, TextTowerConfig, TimmConfig, ViTConfig
from calligram.clip.weights import timm_vit
from calligram.clip.weights.layout import to_ours, to_theirs
from calligram.clip.weights.open_clip import config_from_open_clip
from calligram.clip.weights.open_clip_infer import infer_model_config
from calligram.clip.weights.open_clip_names import open_clip_rules, plain_names
from calligram.clip.weights.to_open_clip import config_to_open_clip
from calligram.errors import UserError
from tests.clip.weights.peers import (
    CLOSE,
    END,
    OPEN_CLIP,
    TEXT,
    VIT,
    VOCAB,
    differences,
    list_tensors,
    open_clip_model,
    our_model,
    perturbed,
    register_tiny_siglip,
    some_texts,
)


@pytest.fixture(autouse=True)
def tiny_siglip():
    register_tiny_siglip()


def converted(name: str) -> tuple[Clip, nn.Module]:
    theirs = open_clip_model(OPEN_CLIP[name])
    config = config_from_open_clip(OPEN_CLIP[name], {})
    return our_model(config, to_ours(plain_names(list_tensors(theirs)), open_clip_rules(config))), theirs


@pytest.mark.parametrize("name", OPEN_CLIP)
def test_the_same_weights_give_the_same_vectors(name):
    ours, theirs = converted(name)
    assert max(differences(ours, theirs, some_texts(TEXT["context_length"]))) < CLOSE


@pytest.mark.parametrize("name", ["vit-quickgelu", "odd", "clipa", "coca"])
def test_every_tensor_matters(name):
    """Two weights swapped, or one that is not read, would leave the vectors as they are."""
    ours, theirs = converted(name)
    text = some_texts(TEXT["context_length"])
    random = torch.Generator().manual_seed(5)
    for key, x in ours.state_dict().items():
        # a constant added to every key changes no softmax; which token a pad is changes nothing where it is not seen
        if x.is_floating_point() and not key.endswith("qkv.bias"):
            before = x.clone()
            x += (0.5 * x.abs().max() + 0.1) * torch.rand(x.shape, generator=random)
            assert max(differences(ours, theirs, text)) > 10 * CLOSE, key
            x.copy_(before)


@pytest.mark.parametrize("name", [name for name in OPEN_CLIP if name != "siglip"])
def test_what_goes_out_comes_back_to_open_clip(name):
    ours, theirs = converted(name)
    state = to_theirs(ours.state_dict(), open_clip_rules(ours.config))
    expected = plain_names(list_tensors(theirs))
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in state)
    config = config_to_open_clip(ours.config, VOCAB, END)
    assert config_from_open_clip(config, {}) == ours.config
    config = copy.deepcopy(config)
    if config.pop("custom_text", False):
        built: nn.Module = CustomTextCLIP(**config)
        state = {key if key.startswith(("visual", "logit")) else f"text.{key}": x for key, x in state.items()}
    else:
        built = CLIP(**config)
    built.load_state_dict(state)
    assert max(differences(ours, built.eval(), some_texts(TEXT["context_length"]))) < CLOSE


def test_siglip_goes_out_under_the_name_that_timm_has_for_its_image_tower(monkeypatch):
    ours, theirs = converted("siglip")
    monkeypatch.setattr("timm.list_models", lambda pattern: ["vit_base_patch16_siglip_224", "calligram_tiny_siglip"])
    config = config_to_open_clip(ours.config, VOCAB, END)
    assert config["vision_cfg"]["timm_model_name"] == "calligram_tiny_siglip"
    assert config_from_open_clip(config, {}) == ours.config
    state = to_theirs(ours.state_dict(), open_clip_rules(ours.config))
    expected = plain_names(list_tensors(theirs))
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in state)
    monkeypatch.setattr("timm.list_models", lambda pattern: ["vit_base_patch16_siglip_224"])
    with pytest.raises(UserError, match="from timm, which has none of this size"):
        config_to_open_clip(ours.config, VOCAB, END)


def test_the_end_of_a_text_need_not_be_the_highest_id():
    config = {**OPEN_CLIP["vit"], "text_cfg": {**TEXT, "pool_type": "eos", "eos_id": 7}}
    theirs = open_clip_model(config)
    ours_config = config_from_open_clip(config, {})
    state = to_ours(list_tensors(theirs), open_clip_rules(ours_config))
    ours = our_model(ours_config, state, end=7)
    text = some_texts(TEXT["context_length"], end=7)
    assert max(differences(ours, theirs, text)) < CLOSE
    assert config_to_open_clip(ours_config, VOCAB, 7)["text_cfg"]["eos_id"] == 7


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_the_shapes_of_weights_tell_their_model(name):
    """With heads as wide as in all of OpenAI's models, 64."""
    config = copy.deepcopy(OPEN_CLIP[name])
    config["vision_cfg"]["head_width"] = 64
    config["vision_cfg"]["width"] = 128 if name == "vit" else 16
    config["text_cfg"] |= {"width": 128, "heads": 2}
    theirs = open_clip_model(config)
    found = infer_model_config(list_tensors(theirs), "gelu")
    assert config_from_open_clip(found, {}) == config_from_open_clip(config, {})
    assert config_from_open_clip(infer_model_config(list_tensors(theirs), "quick_gelu"), {}) == config_from_open_clip(
        {**config, "quick_gelu": True}, {}
    )


def test_what_has_no_part_here_is_named():
    def refused(part: str, **fields) -> None:
        config = {**OPEN_CLIP["vit"], part: {**OPEN_CLIP["vit"][part], **fields}}
        with pytest.raises(UserError, match=next(iter(fields))):
            config_from_open_clip(config, {})

    refused("vision_cfg", ls_init_value=1e-4)
    refused("vision_cfg", attentional_pool="parallel")
    refused("vision_cfg", pool_type="none")
    refused("vision_cfg", scale_fc=True)
    refused("vision_cfg", image_size=[32, 64])
    refused("text_cfg", hf_pooler_type="max_pooler", hf_model_name="roberta-base")
    refused("text_cfg", qk_norm=True)
    refused("text_cfg", pool_type="first")


def test_wrong_weights_are_told_by_name():
    theirs = open_clip_model(OPEN_CLIP["vit"])
    rules = open_clip_rules(config_from_open_clip(OPEN_CLIP["vit"], {}))
    state = list_tensors(theirs)
    state["visual.surplus"] = state.pop("visual.proj")
    with pytest.raises(UserError, match=r"visual\.proj missing; visual\.surplus of no use"):
        to_ours(state, rules)
    with pytest.raises(UserError, match=r"and \d+ more missing"):
        to_ours({"x": torch.zeros(1)}, rules)


@pytest.mark.parametrize(
    ("part", "word"),
    [
        ({"image": ViTConfig(patch=8, stem=(8, 8), pool="class", patch_bias=False)}, "stem"),
        ({"image": ViTConfig(patch=8, pool="mean", patch_bias=False)}, "mean of tokens"),
        ({"text": TextTowerConfig(projection="mlp")}, "two layers"),
        ({"text": HFTextConfig(name="small", model='{"model_type": "bert"}')}, "fetches small by its name"),
        ({"image": ViTConfig(patch=8, pool="class", patch_bias=False, positions="rotary")}, "rotary"),
        ({"text": TextTowerConfig(token_shift=2)}, "token_shift"),
        ({"image": TimmConfig(name="resnet10t", projection="none")}, "without a projection"),
    ],
)
def test_what_open_clip_cannot_hold_is_refused(part, word):
    config = config_from_open_clip(OPEN_CLIP["vit"], {}).model_copy(update=part)
    with pytest.raises(UserError, match=word):
        config_to_open_clip(config, VOCAB, END)


def test_one_activation_for_both_towers_or_none_of_them_quick():
    config = config_from_open_clip(OPEN_CLIP["vit-quickgelu"], {})
    text = config.text.model_copy(
        update={"transformer": config.text.transformer.model_copy(update={"activation": "gelu"})}
    )
    with pytest.raises(UserError, match="QuickGELU in both towers or in none"):
        config_to_open_clip(config.model_copy(update={"text": text}), VOCAB, END)


def test_a_timm_vit_with_more_than_ours_stays_a_timm_model():
    assert timm_vit.plain_vit("vit_base_patch16_siglip_224", 224, "none") is not None
    assert timm_vit.plain_vit("vit_so400m_patch14_siglip_378", 378, "none") is not None
    assert timm_vit.plain_vit("vit_little_patch16_reg1_gap_256", 256, "none") is None  # registers
    assert VIT["patch_size"] and perturbed
