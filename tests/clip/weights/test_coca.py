"""CoCa of open_clip as a dual encoder: its two towers say the same with the same weights, its decoder is left out."""

import copy
import json
import logging
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.coca_model import CoCa
from safetensors.torch import save_file
from torch import nn

from calligram import load_clip
from calligram.clip.model import Clip
from calligram.clip.weights.export import export_open_clip
from calligram.clip.weights.layout import to_ours
from calligram.clip.weights.open_clip import config_from_open_clip
from calligram.clip.weights.open_clip_names import open_clip_rules, plain_names, without_decoder
from calligram.errors import UserError
from tests.clip.weights.peers import CLOSE, TEXT, VIT, differences, list_tensors, our_model, perturbed, some_texts

CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {
        **VIT,
        "attentional_pool": True,
        "attn_pooler_queries": 5,
        "attn_pooler_heads": 4,
        "output_tokens": True,
    },
    "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"context_length": 9, "vocab_size": 60, "width": 32, "heads": 4, "layers": 1},
}
EQUALLY_WIDE = {**CONFIG, "embed_dim": VIT["width"]}  # PyTorch keeps one matrix then instead of three
NO_POOLER = {**CONFIG, "vision_cfg": {**VIT, "output_tokens": True}}  # as coca_base and coca_roberta


class Contrastive(nn.Module):
    """CoCa's two encoders under the names that open_clip's other models have."""

    def __init__(self, coca: CoCa):
        super().__init__()
        self.coca = coca

    def encode_image(self, pixels, normalize: bool):
        return self.coca.encode_image(pixels, normalize)

    def encode_text(self, text, normalize: bool):
        return self.coca.encode_text(text, normalize)

    def get_logits(self, pixels, text):
        logits = self.coca.logit_scale.exp() * self.encode_image(pixels, True) @ self.encode_text(text, True).T
        return logits, logits.T


def coca(config: dict) -> CoCa:
    torch.manual_seed(0)
    return perturbed(CoCa(**copy.deepcopy(config)))  # pyright: ignore[reportReturnType]


def converted(config: dict) -> tuple[Clip, Contrastive]:
    theirs = coca(config)
    ours = config_from_open_clip(config, {})
    state, left_out = without_decoder(plain_names(list_tensors(theirs)))
    assert left_out == len(theirs.text_decoder.state_dict()) > 0
    return our_model(ours, to_ours(state, open_clip_rules(ours))), Contrastive(theirs)


@pytest.mark.parametrize("config", [CONFIG, EQUALLY_WIDE, NO_POOLER])
def test_the_same_weights_give_the_same_vectors(config):
    ours, theirs = converted(config)
    assert max(differences(ours, theirs, some_texts(TEXT["context_length"]))) < CLOSE


def test_a_token_with_the_id_of_padding_hides_what_follows_it_as_theirs_does():
    """In CLIP's vocabulary 0 is an exclamation mark within a word, too."""
    ours, theirs = converted(CONFIG)
    text = some_texts(TEXT["context_length"])
    before = ours.encode_text(text)
    text[2, 1] = text[2, 4] = text[0, 0] = 0
    assert max(differences(ours, theirs, text)) < CLOSE
    changed = (ours.encode_text(text) - before).norm(dim=1) > 1e-3
    assert changed.tolist() == [True, False, True, False, False]


def saved(folder: Path) -> Path:
    """A folder as open_clip pushes one, with CLIP's vocabulary."""
    text = {**CONFIG["text_cfg"], "vocab_size": 49408}
    config = {**CONFIG, "text_cfg": text, "custom_text": True}
    theirs = coca({**CONFIG, "text_cfg": text})
    folder.mkdir()
    save_file(
        {name: x.contiguous() for name, x in list_tensors(theirs).items()}, folder / "open_clip_model.safetensors"
    )
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return folder


def test_a_folder_is_read_what_is_left_out_is_said_and_open_clip_reads_what_we_write(tmp_path, caplog):
    folder = saved(tmp_path / "coca")
    with caplog.at_level(logging.WARNING):
        clip = load_clip(folder)
    assert "its decoder, " in caplog.text and "tensors that write captions, is left out" in caplog.text
    texts = ["a photo of a cat", "wow!!! two dogs", "a very long text about a cat and a dog and so on"]
    theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    ids = open_clip.get_tokenizer(f"local-dir:{folder}", context_length=9)(texts)
    assert torch.equal(ids, clip.tokenizer(texts))
    assert max(differences(clip.model, Contrastive(theirs), ids)) < CLOSE
    export_open_clip(clip.model, clip.tokenizer, tmp_path / "out")
    back = open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval()
    assert max(differences(clip.model, back, ids)) < CLOSE
    again = load_clip(tmp_path / "out").model.state_dict()
    assert all(torch.equal(again[name], x) for name, x in clip.model.state_dict().items())


def test_a_pooler_of_the_papers_kind_is_refused():
    for kind in ("parallel", "cascade"):
        config = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "attentional_pool": kind}}
        with pytest.raises(UserError, match=f"attentional_pool '{kind}'"):
            config_from_open_clip(config, {})


def test_its_towers_learn():
    """Every weight has a gradient: nothing is left that a training in several processes would wait for."""
    ours, _ = converted(CONFIG)
    ours.train()
    images = torch.rand(4, 3, 32, 32)
    text = some_texts(TEXT["context_length"])[:4]
    (ours.encode_image(images) @ ours.encode_text(text).T * ours.scale()).logsumexp(1).sum().backward()
    assert [name for name, p in ours.named_parameters() if p.grad is None] == []
