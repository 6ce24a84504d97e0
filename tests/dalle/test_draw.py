import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from calligram import runs
from calligram.dalle.draw import DallePipeline, build_dalle, load_dalle
from calligram.dalle.model import DalleConfig
from calligram.dalle.sampling import SamplingConfig, sample
from calligram.errors import UserError
from calligram.nn.image import to_uint8
from calligram.nn.transformer import TransformerConfig
from calligram.tokenizers.autoencoder import AutoencoderConfig
from calligram.tokenizers.fsq import FSQConfig, FSQTokenizer
from calligram.tokenizers.run import save_tokenizer
from calligram.tokenizers.text import TextTokenizer

CONFIG = DalleConfig(text_length=20, transformer=TransformerConfig(width=16, num_layers=1, num_heads=2))
GUIDED = SamplingConfig(guidance=2.0)


@pytest.fixture(scope="module")
def pipeline() -> DallePipeline:
    torch.manual_seed(0)
    text = TextTokenizer.train(["a red square", "a blue ring"], context_length=20)
    local = AutoencoderConfig(patch=4, channels=(16,), num_blocks=0)
    image = FSQTokenizer(FSQConfig(image_size=8, levels=(5, 5), autoencoder=local))
    model = build_dalle(CONFIG, text, image)
    for parameter in [*model.parameters(), *image.parameters()]:
        parameter.data += 0.3 * torch.randn_like(parameter)
    return DallePipeline(model, text, image, GUIDED, batch_size=2)


def test_the_decoder_has_the_vocabularies_of_its_tokenizers(pipeline):
    model = pipeline.model
    assert model.text_embed.num_embeddings == pipeline.text_tokenizer.vocab_size
    assert (model.image_embed.num_embeddings, model.grid, model.end_id) == (25, 2, pipeline.text_tokenizer.end_id)


def test_pictures_are_the_decoded_tokens(pipeline):
    pixels = pipeline.draw(["a red square"], [3])
    tokens = sample(pipeline.model, pipeline.text_tokenizer(["a red square"]), [3], GUIDED)
    assert torch.equal(pixels, to_uint8(pipeline.image_tokenizer.decode(tokens)))


def test_picture_i_does_not_depend_on_how_many_are_drawn(pipeline):
    five = pipeline.generate("a red square", num_images=5, seed=10)
    assert [picture.size for picture in five] == [(8, 8)] * 5
    assert len({picture.tobytes() for picture in five}) > 1
    for i in (0, 3):
        alone = pipeline.draw(["a red square"], [10 + i])[0].permute(1, 2, 0).numpy()
        assert np.array_equal(np.asarray(five[i]), alone)


def test_prompts_of_a_batch_keep_their_places(pipeline):
    both = pipeline.draw(["a red square", "a blue ring", "a red square"], [1, 1, 2])
    assert torch.equal(both[1:2], pipeline.draw(["a blue ring"], [1]))
    assert torch.equal(both[2:3], pipeline.draw(["a red square"], [2]))


def test_bad_prompts_are_refused(pipeline):
    with pytest.raises(UserError, match="more than the 20 that fit"):
        pipeline.generate("a red square " * 9)
    with pytest.raises(UserError, match="0 prompts and 0 seeds"):
        pipeline.generate("a red square", num_images=0)
    with pytest.raises(UserError, match="1 prompts and 2 seeds"):
        pipeline.draw(["a red square"], [0, 1])


@pytest.fixture
def run(pipeline, tmp_path):
    saved = {"type": "dalle", "model": CONFIG.model_dump(mode="json"), "sampling": GUIDED.model_dump(mode="json")}
    runs.write_config(tmp_path, saved)
    pipeline.text_tokenizer.save(tmp_path / runs.TEXT_TOKENIZER)
    save_tokenizer(pipeline.image_tokenizer, tmp_path / runs.IMAGE_TOKENIZER)
    save_file({k: v.contiguous() for k, v in pipeline.model.state_dict().items()}, tmp_path / runs.MODEL)
    return tmp_path


def test_a_run_comes_back_as_it_was(pipeline, run):
    loaded = load_dalle(run)
    assert loaded.sampling == GUIDED and not loaded.model.training and not loaded.image_tokenizer.training
    prompts = ["a red square", "a blue ring"]
    assert torch.equal(loaded.draw(prompts, [0, 1]), pipeline.draw(prompts, [0, 1]))


def test_a_run_that_is_not_whole_is_refused(run):
    (run / runs.MODEL).unlink()
    with pytest.raises(UserError, match="has no weights"):
        load_dalle(run)
    (run / runs.CONFIG).write_text(json.dumps({"type": "dalle", "model": {"text_length": 0}}))
    with pytest.raises(UserError, match="does not describe a DALL-E"):
        load_dalle(run)
