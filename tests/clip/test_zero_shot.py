import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from calligram import runs
from calligram.clip.model import Clip, ClipConfig
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.clip.zero_shot import ClipPipeline, load_clip
from calligram.errors import UserError
from calligram.nn.transformer import TransformerConfig
from calligram.tokenizers.text import TextTokenizer

SMALL = TransformerConfig(width=16, num_layers=1, num_heads=2)
CONFIG = ClipConfig(
    image_size=8,
    embed_dim=12,
    image=ViTConfig(patch=4, transformer=SMALL),
    text=TextTowerConfig(context_length=20, transformer=SMALL),
)
LABELS = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def clip() -> ClipPipeline:
    torch.manual_seed(0)
    tokenizer = TextTokenizer.train(["a red square", "a green circle", "a blue ring"], context_length=20)
    model = Clip(CONFIG, tokenizer.vocab_size, tokenizer.end_id)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return ClipPipeline(model, tokenizer, batch_size=2)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_probabilities_are_the_softmax_of_scaled_cosines(clip, images):
    found = clip.classify(images, LABELS)
    cosines = clip.model.encode_image(images) @ clip.model.encode_text(clip.tokenizer(LABELS)).T
    torch.testing.assert_close(found, (clip.model.scale() * cosines).softmax(-1))
    torch.testing.assert_close(found.sum(1), torch.ones(5))
    assert found.std(1).min() > 0.01, "labels that all look alike would test nothing"


def test_probabilities_come_in_the_order_of_the_labels(clip, images):
    found = clip.classify(images, LABELS)
    for order in ([2, 0, 1], [1, 0, 2]):
        torch.testing.assert_close(clip.classify(images, [LABELS[i] for i in order]), found[:, order])


def test_a_label_is_the_renormalised_mean_of_its_prompts(clip):
    templates = ["a {}", "{} {}", "the {} ring"]
    by_hand = [clip.embed_texts([f"a {x}", f"{x} {x}", f"the {x} ring"]).mean(0) for x in LABELS]
    by_hand = torch.stack([x / x.norm() for x in by_hand])
    torch.testing.assert_close(clip.embed_labels(LABELS, templates), by_hand)


def test_chunks_do_not_show(clip, images):
    whole = ClipPipeline(clip.model, clip.tokenizer, batch_size=100)
    torch.testing.assert_close(clip.embed_images(images), whole.embed_images(images))
    torch.testing.assert_close(clip.embed_texts(LABELS), whole.embed_texts(LABELS))
    pictures = [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in images]
    torch.testing.assert_close(clip.embed_images(pictures), whole.embed_images(images))


def test_nothing_in_nothing_out(clip):
    assert clip.classify([], LABELS).shape == (0, 3)
    assert clip.embed_texts([]).shape == (0, 12)


def test_bad_labels_and_templates_are_refused(clip, images):
    with pytest.raises(UserError, match="list of labels is empty"):
        clip.classify(images, [])
    with pytest.raises(UserError, match="list of templates is empty"):
        clip.classify(images, LABELS, templates=[])
    with pytest.raises(UserError, match=r"template 'a picture' has no \{\}"):
        clip.classify(images, LABELS, templates=["{}", "a picture"])
    with pytest.raises(UserError, match="more than the 20 that fit"):
        clip.classify(images, ["red " * 19])


@pytest.fixture
def run(clip, tmp_path):
    runs.write_config(tmp_path, {"type": "clip", "model": CONFIG.model_dump(mode="json")})
    clip.tokenizer.save(tmp_path / runs.TEXT_TOKENIZER)
    save_file({k: v.contiguous() for k, v in clip.model.state_dict().items()}, tmp_path / runs.MODEL)
    return tmp_path


def test_a_run_comes_back_as_it_was(clip, images, run):
    loaded = load_clip(run)
    assert not loaded.model.training
    torch.testing.assert_close(loaded.classify(images, LABELS), clip.classify(images, LABELS))


def test_a_run_that_is_not_whole_is_refused(run, tmp_path):
    (run / runs.MODEL).unlink()
    with pytest.raises(UserError, match="has no weights"):
        load_clip(run)
    (run / runs.CONFIG).write_text(json.dumps({"type": "clip", "model": {"image_size": 0}}))
    with pytest.raises(UserError, match="does not describe a CLIP"):
        load_clip(run)
