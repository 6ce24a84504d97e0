"""CLIPModel and SiglipModel of Hugging Face and ours with the same weights say the same."""

import pytest
import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from calligram.clip.model import Clip
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.clip.weights.hf import config_from_hf, hf_kind, hf_rules
from calligram.clip.weights.layout import to_ours, to_theirs
from calligram.errors import UserError
from tests.clip.weights.peers import CLOSE, END, VOCAB, differences, list_tensors, our_model, perturbed, some_texts

TEXT = {"vocab_size": VOCAB, "eos_token_id": END, "num_hidden_layers": 2, "bos_token_id": 1, "pad_token_id": 0}
VISION = {"num_hidden_layers": 2}
SMALL_TEXT = {
    **TEXT,
    "hidden_size": 32,
    "intermediate_size": 99,
    "num_attention_heads": 4,
    "max_position_embeddings": 11,
}
SMALL_VISION = {
    **VISION,
    "hidden_size": 48,
    "intermediate_size": 130,
    "num_attention_heads": 3,
    "image_size": 32,
    "patch_size": 8,
}
CASES = {
    "clip": (CLIPModel, CLIPConfig(text_config=SMALL_TEXT, vision_config=SMALL_VISION, projection_dim=20)),
    "clip-mixed": (
        CLIPModel,
        CLIPConfig(
            text_config={**SMALL_TEXT, "hidden_act": "gelu", "layer_norm_eps": 1e-3},
            vision_config={**SMALL_VISION, "hidden_act": "gelu_new", "image_size": 36},  # 4 pixels are left over
            projection_dim=20,
        ),
    ),
    "clip-legacy": (
        CLIPModel,
        CLIPConfig(text_config={**SMALL_TEXT, "eos_token_id": 2}, vision_config=SMALL_VISION, projection_dim=20),
    ),
    "siglip": (SiglipModel, SiglipConfig(text_config={**SMALL_TEXT, "hidden_size": 48}, vision_config=SMALL_VISION)),
    "siglip-odd": (
        SiglipModel,
        SiglipConfig(
            text_config={**SMALL_TEXT, "projection_size": 48, "hidden_act": "quick_gelu"},
            vision_config={**SMALL_VISION, "hidden_act": "gelu", "layer_norm_eps": 1e-3},
        ),
    ),
}


def converted(name: str) -> tuple[Clip, nn.Module]:
    kind, config = CASES[name]
    torch.manual_seed(0)
    theirs = perturbed(kind(config))
    found = config_from_hf(config.to_dict(), {})
    assert found.vocab_size == VOCAB
    state = to_ours(list_tensors(theirs), hf_rules(found.config))
    return our_model(found.config, state, end=found.end_id), theirs


@pytest.mark.parametrize("name", CASES)
def test_the_same_weights_give_the_same_vectors(name):
    ours, theirs = converted(name)
    assert max(differences(ours, theirs, some_texts(11))) < CLOSE


@pytest.mark.parametrize("name", CASES)
def test_what_goes_out_is_what_came_in(name):
    ours, theirs = converted(name)
    assert hf_kind(ours.config) == name.partition("-")[0]
    state, expected = to_theirs(ours.state_dict(), hf_rules(ours.config)), list_tensors(theirs)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in state)


def test_older_files_count_their_places():
    ours, theirs = converted("clip")
    state = list_tensors(theirs) | {"text_model.embeddings.position_ids": torch.arange(11)[None]}
    with pytest.raises(UserError, match=r"position_ids of no use"):
        to_ours(state, hf_rules(ours.config))
    assert to_ours(state, hf_rules(ours.config), ("embeddings.position_ids",)).keys() == ours.state_dict().keys()


@pytest.mark.parametrize(
    ("part", "word"),
    [
        ({"image": ViTConfig(patch=8, stem=(8, 8))}, "stem"),
        ({"image": ViTConfig(patch=8, positions="rotary")}, "rotary"),
        ({"image": ViTConfig(patch=8)}, r"differs in image\.pool, image\.pre_norm, image\.patch_bias"),
        ({"text": TextTowerConfig(token_shift=1)}, "token_shift"),
        ({"init_bias": -10.0}, "differs in logit_bias"),
    ],
)
def test_what_hugging_face_cannot_hold_is_refused(part, word):
    ours, _ = converted("clip")
    with pytest.raises(UserError, match=word):
        hf_rules(ours.config.model_copy(update=part))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model_type": "blip"}, "type 'blip'"),
        ({"vision_config": {**SMALL_VISION, "hidden_act": "silu"}}, "hidden_act 'silu'"),
        ({"vision_config": {**SMALL_VISION, "num_channels": 1}}, "num_channels 1"),
    ],
)
def test_models_with_other_parts_are_refused(change, word):
    with pytest.raises(UserError, match=word):
        config_from_hf({**CASES["clip"][1].to_dict(), **change}, {})


def test_preprocessing_that_does_not_fit_is_refused():
    config = CASES["clip"][1].to_dict()
    with pytest.raises(UserError, match="pictures of 224 pixels, but the model reads 32"):
        config_from_hf(config, {"size": {"shortest_edge": 224}})
    with pytest.raises(UserError, match="resample 1"):
        config_from_hf(config, {"size": 32, "resample": 1})
    found = config_from_hf(config, {"size": {"height": 32}, "resample": 2, "do_center_crop": False}).config
    assert (found.preprocess.resize, found.preprocess.filter) == ("squash", "bilinear")
