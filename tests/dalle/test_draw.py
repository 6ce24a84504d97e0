import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from calligram import runs
from calligram.dalle.draw import DallePipeline, build_dalle, load_dalle
from calligram.dalle.model import DalleConfig
from calligram.dalle.preview import HalfDrawn
from calligram.dalle.sampling import SamplingConfig, sample
from calligram.errors import UserError
from calligram.nn.image import stack_images, to_uint8
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


@pytest.fixture
def photo() -> Image.Image:
    """48 × 32 pixels, which the model sees as 8 × 8."""
    image = Image.new("RGB", (48, 32), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 30, 15), fill="red")
    return image


def test_several_prompts_give_a_list_each(pipeline):
    rows = pipeline.generate(["a red square", "a blue ring"], num_images=3, seed=4)
    assert [len(row) for row in rows] == [3, 3]
    for prompt, row in zip(["a red square", "a blue ring"], rows, strict=True):
        alone = pipeline.generate(prompt, num_images=3, seed=4)
        assert [image.tobytes() for image in row] == [image.tobytes() for image in alone]


def test_whoever_watches_sees_each_batch_grow(pipeline):
    seen: list[HalfDrawn] = []
    pictures = pipeline.generate("a red square", num_images=3, seed=1, watch=seen.append)
    assert [(half.first, half.num_known) for half in seen] == [
        (0, 1),
        (0, 2),
        (0, 3),
        (0, 4),
        (2, 1),
        (2, 2),
        (2, 3),
        (2, 4),
    ]
    whole = [*seen[3].images(), *seen[7].images()]
    assert [image.tobytes() for image in whole] == [image.tobytes() for image in pictures]
    assert seen[1].images()[0].tobytes() != whole[0].tobytes()
    assert [image.tobytes() for image in pipeline.generate("a red square", 3, 1)] == [x.tobytes() for x in pictures]


def test_a_completion_keeps_the_given_tokens(pipeline, photo):
    given = pipeline.encode([photo])
    basis = pipeline.completion(photo, rows=1)
    tokens = pipeline.draw_tokens(["a red square"] * 5, range(5), basis=basis)
    assert torch.equal(tokens[:, :2], given[:, :2].expand(5, -1)) and len(tokens.unique(dim=0)) > 1
    pictures = pipeline.complete(photo, "a red square", rows=1, num_images=5)
    assert [x.tobytes() for x in pictures] == [x.tobytes() for x in pipeline.images(tokens)]
    assert pipeline.complete(photo, rows=2)[0].tobytes() == pipeline.images(given)[0].tobytes(), (
        "nothing is left to draw"
    )


def test_kept_tokens_are_known_from_the_first_step_on(pipeline, photo):
    seen: list[HalfDrawn] = []
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4] = True  # the upper half is drawn anew, several tries a picture
    pipeline.complete(photo, "a red square", mask=mask, num_images=2, watch=seen.append)
    assert [half.num_known for half in seen] == [3, 4, 4, 4]
    assert all(len(half.tokens_BN) == 2 for half in seen)


def test_a_completion_needs_rows_or_a_mask(pipeline, photo):
    for wrong in ({}, {"rows": 1, "mask": photo}):
        with pytest.raises(UserError, match="keeps either rows or what a mask leaves: give one of them"):
            pipeline.complete(photo, "a red square", **wrong)
    with pytest.raises(UserError, match="a picture has 2 rows of tokens, 4 pixels high each; give 0 to 2"):
        pipeline.complete(photo, "a red square", rows=3)


def test_a_variation_of_no_strength_is_the_picture(pipeline, photo):
    as_tokens = pipeline.images(pipeline.encode([photo]))[0]
    assert pipeline.variations(photo, "a red square", 0.0)[0].tobytes() == as_tokens.tobytes()
    many = pipeline.variations(photo, "a red square", 0.8, num_images=9)
    assert len({picture.tobytes() for picture in many}) > 1


def test_log_likelihood_is_that_of_teacher_forcing(pipeline, photo):
    pictures = [photo, *pipeline.generate("a blue ring", 2)]
    prompts = ["a red square", "a blue ring", "a red square"]
    found = pipeline.log_likelihood(pictures, prompts)
    tokens = torch.cat([pipeline.image_tokenizer.encode(stack_images([x], 8)) for x in pictures])
    with torch.no_grad():
        log_p = pipeline.model(pipeline.text_tokenizer(prompts), tokens)[1].log_softmax(-1)
    torch.testing.assert_close(found, log_p.gather(2, tokens[..., None]).sum((1, 2)), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(pipeline.log_likelihood(pictures, "a red square")[0], found[0], atol=1e-4, rtol=1e-5)
    with pytest.raises(UserError, match="3 pictures for 2 prompts: give one prompt a picture, or one for all"):
        pipeline.log_likelihood(pictures, prompts[:2])
