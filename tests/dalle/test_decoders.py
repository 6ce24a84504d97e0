"""Both Transformers, every kind of attention, text padded and packed: one behaviour."""

import random

import pytest
import torch

from calligram.dalle.model import Dalle, DalleConfig
from calligram.dalle.sampling import SamplingConfig, sample
from calligram.dalle.task import DalleLossConfig, DalleTask
from calligram.nn.decoder import PlainConfig
from calligram.nn.llama import LlamaConfig


def in_chunks(model: Dalle, text, pictures, sizes: list[int]):
    """Logits of every image token, over a cache, so many tokens at a time."""
    cache, first = model.new_cache(len(text)), 0
    parts = [model.prefill(text, cache)[:, None]]
    for size in sizes:
        parts.append(model.extend(pictures[:, : first + size], cache, first))
        first += size
    return torch.cat(parts, 1)


def random_sizes(total: int, seed: int) -> list[int]:
    draw, sizes = random.Random(seed), []
    while sum(sizes) < total:
        sizes.append(min(draw.choice([1, 1, 2, 3, 5, 9]), total - sum(sizes)))
    return sizes


@torch.no_grad()
def test_cached_is_uncached(decoder, text, larger_pictures):
    expected = decoder(text, larger_pictures)[1]
    for sizes in ([1] * 15, [15], *(random_sizes(15, seed) for seed in range(12))):
        found = in_chunks(decoder, text, larger_pictures, sizes)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_cached_is_uncached_in_double_precision(decoder, text, larger_pictures):
    double = Dalle(decoder.config, 11, 13, 4, end_id=2).eval().double()
    double.load_state_dict(decoder.state_dict())
    expected = double(text, larger_pictures)[1]
    for seed in range(3):
        found = in_chunks(double, text, larger_pictures, random_sizes(15, seed))
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@torch.no_grad()
def test_a_step_is_an_extension_by_one(decoder, text, larger_pictures):
    cache = decoder.new_cache(3)
    decoder.prefill(text, cache)
    decoder.extend(larger_pictures[:, :4], cache, 0)
    found = decoder.step(larger_pictures[:, :5], cache)
    torch.testing.assert_close(found, decoder(text, larger_pictures)[1][:, 5], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_cache_that_was_cut_goes_on_from_there(decoder, text, larger_pictures):
    cache = decoder.new_cache(3)
    decoder.prefill(text, cache)
    decoder.extend((larger_pictures[:, :9] + 1) % 13, cache, 0)  # tokens that are taken back again
    cache.truncate(decoder.text_length + 0)
    decoder.extend(larger_pictures[:, :3], cache, 0)
    decoder.extend((larger_pictures[:, :8] + 5) % 13, cache, 3)
    cache.truncate(decoder.text_length + 3)
    found = decoder.extend(larger_pictures[:, :15], cache, 3)
    torch.testing.assert_close(found, decoder(text, larger_pictures)[1][:, 4:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rows_of_a_cache_stand_for_candidates(decoder, text, larger_pictures):
    cache = decoder.new_cache(3)
    decoder.prefill(text, cache)
    rows = torch.tensor([2, 0, 0, 1])
    found = decoder.extend(larger_pictures[rows, :15], cache.select(rows), 0)
    torch.testing.assert_close(found, decoder(text, larger_pictures)[1][rows, 1:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_tokens_out_of_turn_are_refused(decoder, text, larger_pictures):
    cache = decoder.new_cache(3)
    decoder.prefill(text, cache)
    with pytest.raises(ValueError, match="the cache holds 6 tokens, not the 8 before these"):
        decoder.extend(larger_pictures[:, :3], cache, 2)


@torch.no_grad()
def test_a_text_and_its_picture_do_not_depend_on_the_batch(decoder, text, larger_pictures):
    whole = decoder(text, larger_pictures)
    for row in range(3):
        alone = decoder(text[row : row + 1], larger_pictures[row : row + 1])
        for ours, theirs in zip(alone, whole, strict=True):
            torch.testing.assert_close(ours[0], theirs[row], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_no_token_sees_what_is_predicted_from_it(decoder, text, larger_pictures):
    before = decoder(text, larger_pictures)
    changed = larger_pictures.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 13
    after = decoder(text, changed)
    assert (after[1] - before[1])[:, :7].abs().max() < 1e-5
    assert (after[1] - before[1])[:, 7].abs().amax(-1).min() > 1e-4
    assert (after[0] - before[0]).abs().max() < 1e-5, "text does not see the picture"


@torch.no_grad()
def test_every_image_token_sees_all_of_its_text(decoder, text, larger_pictures):
    changed = text.clone()
    changed[:, 1] = 4
    difference = (decoder(changed, larger_pictures)[1] - decoder(text, larger_pictures)[1]).abs().amax(-1)
    assert difference.min() > 1e-5


@torch.no_grad()
def test_what_lies_behind_the_end_does_not_matter(decoder, text, larger_pictures):
    littered = torch.where(decoder.padding(text), torch.full_like(text, 9), text)
    for ours, theirs in zip(decoder(text, larger_pictures), decoder(littered, larger_pictures), strict=True):
        assert torch.equal(ours, theirs)


@torch.no_grad()
def test_text_read_alone_is_the_same_text(decoder, text, larger_pictures):
    said = ~decoder.padding(text)[:, 1:, None]
    with_picture = decoder(text, larger_pictures)[0]
    torch.testing.assert_close(decoder.read_text(text) * said, with_picture * said, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_guidance_over_the_cache_is_guidance_without(decoder, text, larger_pictures):
    """DALLE-pytorch's null half reuses the conditional keys, and guidance vanishes from the second token on."""
    both = torch.cat([text, decoder.drop_text(text)])
    twice = larger_pictures.repeat(2, 1)
    conditional, null = decoder(both, twice)[1].chunk(2)
    expected = null + 2.5 * (conditional - null)
    cached_conditional, cached_null = in_chunks(decoder, both, twice, [1] * 15).chunk(2)
    found = cached_null + 2.5 * (cached_conditional - cached_null)
    torch.testing.assert_close(found, expected, atol=3e-5, rtol=1e-5)
    assert (conditional - null).abs().amax(-1).min() > 1e-4


def test_pictures_are_drawn(decoder, text):
    kept = text.clone()
    tokens = sample(decoder, text, [3, 4, 5], SamplingConfig(guidance=2.0))
    assert tokens.shape == (3, 16) and tokens.min() >= 0 and tokens.max() < 13
    alone = sample(decoder, text[1:2], [4], SamplingConfig(guidance=2.0))
    assert torch.equal(tokens[1:2], alone) and torch.equal(text, kept)


@pytest.mark.parametrize("training", [True, False])
def test_every_weight_gets_a_gradient(decoder, text, larger_pictures, training):
    """Also in evaluation, where LlamaGen's teacher forcing fails."""
    torch.manual_seed(0)
    model = Dalle(decoder.config, 11, 13, 4, end_id=2)
    task = DalleTask(model, DalleLossConfig(drop_caption=0)).train(training)
    task({"text": text, "image_tokens": larger_pictures})[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_the_todays_decoder_has_no_biases_and_no_learned_positions():
    names = Dalle(DalleConfig(transformer=LlamaConfig(width=16, num_heads=2)), 11, 13, 3, end_id=2).state_dict()
    assert not [name for name in names if "bias" in name or "positions" in name]


def test_a_config_that_names_no_transformer_is_the_one_that_there_was():
    old = {"type": "dalle", "text_length": 16, "token_shift": 2, "transformer": {"width": 96, "num_heads": 3}}
    config = DalleConfig.model_validate(old)
    assert config.transformer == PlainConfig(width=96, num_heads=3)
    assert (config.text, config.neighbours, config.heads) == ("padded", True, "tied")
    assert config.transformer.attention == "full"
    assert DalleConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"type": "llama", "num_heads": 4, "num_kv_heads": 3}, "num_heads 4 is not divisible by num_kv_heads 3"),
        ({"type": "llama", "width": 100, "num_heads": 3}, "width 100 is not divisible by num_heads 3"),
        ({"type": "llama", "width": 16, "num_heads": 4}, "head width 4 has no pairs for rows and columns"),
        ({"type": "llama", "kernel": 4}, "kernel 4 has no middle"),
        ({"kernel": 4}, "kernel 4 has no middle"),
        ({"type": "gpt"}, "does not match any of the expected tags"),
    ],
)
def test_wrong_transformers_are_refused_with_the_reason(given, said):
    with pytest.raises(ValueError, match=said):
        DalleConfig.model_validate({"transformer": given})
