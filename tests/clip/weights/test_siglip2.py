"""Siglip2Model of Hugging Face (NaFlex, arXiv 2502.14786) and ours, pictures and all."""

import string
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoTokenizer, Siglip2Config, Siglip2ImageProcessor, Siglip2Model, Siglip2Tokenizer

from calligram.clip.load import load_model
from calligram.clip.preprocess import PreprocessConfig, prepare
from calligram.clip.weights.export import export_hf, export_open_clip
from calligram.clip.weights.hf import config_from_hf, hf_kind, hf_rules
from calligram.clip.weights.layout import to_ours, to_theirs
from calligram.clip.zero_shot import load_clip
from calligram.errors import UserError
from tests.clip.weights.naflex import native_differences, photographs, processor, their_answers
from tests.clip.weights.peers import CLOSE, END, VOCAB, list_tensors, perturbed, some_texts

TEXT = {
    "vocab_size": VOCAB,
    "eos_token_id": END,
    "bos_token_id": 1,
    "pad_token_id": 0,
    "num_hidden_layers": 2,
    "hidden_size": 48,
    "intermediate_size": 99,
    "num_attention_heads": 4,
    "max_position_embeddings": 11,
}
VISION = {
    "num_hidden_layers": 2,
    "hidden_size": 48,
    "intermediate_size": 130,
    "num_attention_heads": 3,
    "patch_size": 8,
    "num_patches": 16,
}
CASES = {
    "usual": Siglip2Config(text_config=TEXT, vision_config={**VISION, "patch_size": 16, "num_patches": 256}),
    "odd": Siglip2Config(
        text_config={**TEXT, "hidden_size": 32, "projection_size": 48, "hidden_act": "quick_gelu"},
        vision_config={**VISION, "patch_size": 7, "num_patches": 25, "hidden_act": "gelu", "layer_norm_eps": 1e-3},
    ),
}


@pytest.fixture(params=CASES)
def theirs(request) -> nn.Module:
    torch.manual_seed(0)
    return perturbed(Siglip2Model(CASES[request.param]))


@pytest.fixture
def folder(theirs, tmp_path) -> Path:
    """As they save one, with a tokenizer of a few words."""
    theirs.save_pretrained(tmp_path / "theirs")
    processor(theirs.config, 30).save_pretrained(tmp_path / "theirs")
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.ascii_lowercase, "ca", "cat"]
    words = {name: number for number, name in enumerate(names)}
    Siglip2Tokenizer(vocab=words, merges=[("c", "a"), ("ca", "t")]).save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


@pytest.mark.parametrize("max_patches", [30, 256, 5])
def test_a_folder_gives_the_same_vectors_and_logits(theirs, folder, max_patches):
    assert max(native_differences(load_clip(folder, native=max_patches), theirs, max_patches, some_texts(11))) < CLOSE


def test_its_words_are_read_as_their_tokenizer_reads_them(theirs, folder):
    texts, tokenizer = ["A Cat", "two  cats"], load_clip(folder).tokenizer
    expected = AutoTokenizer.from_pretrained(folder)(texts)["input_ids"]
    for ours, ids in zip(tokenizer(texts).tolist(), expected, strict=True):
        ids = ids if ids[-1] == 1 else [*ids, 1]  # a tokenizer that ends no text gets an end
        assert ours == ids + [0] * (11 - len(ids))


def test_a_folder_says_by_itself_how_many_patches_a_picture_has(theirs, folder):
    clip = load_clip(folder)
    assert clip.model.config.preprocess.max_patches == 30
    assert max(native_differences(clip, theirs, 30, some_texts(11))) < CLOSE
    (folder / "preprocessor_config.json").unlink()
    assert load_clip(folder).model.config.preprocess.max_patches == 256


def test_what_goes_out_is_what_came_in(theirs, folder, tmp_path):
    model, tokenizer = load_model(folder)
    assert hf_kind(model.config) == "siglip2"
    state, expected = to_theirs(model.state_dict(), hf_rules(model.config)), list_tensors(theirs)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in state)

    export_hf(model, tokenizer, tmp_path / "ours")
    back, text = Siglip2Model.from_pretrained(tmp_path / "ours").eval(), some_texts(11)
    for ours, expected in zip(their_answers(back, 30, text), their_answers(theirs, 30, text), strict=True):
        assert torch.equal(ours, expected)
    prepared = Siglip2ImageProcessor.from_pretrained(tmp_path / "ours")
    assert (prepared.patch_size, prepared.max_num_patches) == (theirs.config.vision_config.patch_size, 30)
    assert load_clip(tmp_path / "ours").model.config == model.config
    with pytest.raises(UserError, match="open_clip reads squares"):
        export_open_clip(model, tokenizer, tmp_path / "open_clip")
    assert not (tmp_path / "open_clip").exists()


@pytest.mark.parametrize(("patch", "max_patches"), [(16, 256), (7, 25)])
def test_pictures_are_prepared_as_theirs_are(patch, max_patches):
    config = PreprocessConfig(resize="native", max_patches=max_patches, filter="bilinear", like="transformers")
    theirs = Siglip2ImageProcessor(patch_size=patch, max_num_patches=max_patches, do_normalize=False)
    for image in photographs():
        ours = prepare(image, 0, config, patch)
        found = theirs(image, return_tensors="pt")
        rows, columns = found["spatial_shapes"][0].tolist()
        cells = found["pixel_values"][0, : rows * columns].unflatten(1, (patch, patch, 3))
        expected = cells.unflatten(0, (rows, columns)).permute(4, 0, 2, 1, 3).flatten(3).flatten(1, 2)
        assert ours.shape == expected.shape
        assert (ours.float() / 255 - expected).abs().max() <= 1 / 255 + 1e-6


def test_models_with_other_parts_are_refused():
    config = CASES["usual"].to_dict()
    with pytest.raises(UserError, match="num_patches 20: its positions are no square grid"):
        config_from_hf({**config, "vision_config": {**VISION, "num_patches": 20}}, {})
    with pytest.raises(UserError, match="cuts patches of 14 pixels, but the model reads 16"):
        config_from_hf(config, {"patch_size": 14})
    found = config_from_hf(config, {}).config
    weights = list_tensors(Siglip2Model(Siglip2Config(text_config=TEXT, vision_config=VISION)))
    with pytest.raises(UserError, match="patches of 16 pixels have 768"):
        to_ours(weights, hf_rules(found))


def test_clip_s_own_layout_has_no_place_for_native_pictures(theirs, folder):
    model, _ = load_model(folder)
    image = model.config.image.model_copy(
        update={"pool": "class", "pre_norm": True, "patch_bias": False, "projection": "linear"}
    )
    text = model.config.text.model_copy(update={"causal": True, "pool": "end", "projection": "linear"})
    config = model.config.model_copy(update={"image": image, "text": text, "init_bias": None})
    with pytest.raises(UserError, match="CLIPModel reads squares"):
        hf_rules(config)
