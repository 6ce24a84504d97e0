import pytest
import torch

from calligram.dalle.sampling import SamplingConfig, sample
from calligram.dalle.sampling.filters import choose
from calligram.dalle.sampling.noise import draw_noise

PLAIN = SamplingConfig()


def greedy_by_teacher_forcing(dalle, text, guidance=1.0):
    """The slow twin: the whole sequence anew for each token, no cache, the likeliest token each time."""
    tokens = torch.zeros(len(text), dalle.num_image_tokens, dtype=torch.int64)
    for position in range(dalle.num_image_tokens):
        logits = dalle(text, tokens)[1][:, position]
        null = dalle(dalle.drop_text(text), tokens)[1][:, position]
        tokens[:, position] = (null + guidance * (logits - null)).argmax(1)
    return tokens


@pytest.mark.parametrize("guidance", [1.0, 3.0, 0.0])
def test_the_cache_and_guidance_agree_with_the_slow_twin(dalle, text, guidance):
    found = sample(dalle, text, [0, 1, 2], SamplingConfig(top_k=1, guidance=guidance))
    assert torch.equal(found, greedy_by_teacher_forcing(dalle, text, guidance))


def test_guided_logits_agree_with_teacher_forcing_at_every_step(dalle, text, monkeypatch):
    """Both halves keep keys of their own, to the last step."""
    seen = []
    monkeypatch.setattr(
        "calligram.dalle.sampling.one_by_one.choose",
        lambda logits, noise, config: seen.append(logits) or choose(logits, noise, config),
    )
    tokens = sample(dalle, text, [0, 1, 2], SamplingConfig(guidance=3))
    conditional, null = dalle(text, tokens)[1], dalle(dalle.drop_text(text), tokens)[1]
    torch.testing.assert_close(torch.stack(seen, 1), null + 3 * (conditional - null), atol=1e-4, rtol=1e-5)
    assert (conditional - null).abs().amax((0, 2)).min() > 0.01, "texts that change nothing would test nothing"


def test_guidance_of_one_is_none_and_more_changes_the_picture(dalle, text):
    plain = sample(dalle, text, [0, 1, 2], PLAIN)
    assert torch.equal(sample(dalle, text, [0, 1, 2], SamplingConfig(guidance=1.0)), plain)
    assert not torch.equal(sample(dalle, text, [0, 1, 2], SamplingConfig(guidance=4.0)), plain)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_picture_depends_on_its_text_and_seed_alone(dalle, text, guidance):
    config = SamplingConfig(guidance=guidance)
    alone = sample(dalle, text[:1], [5], config)[0]
    for batch in (7, 32):
        texts = text[torch.arange(batch) % 3]
        texts[batch // 2] = text[0]
        seeds = [100 + i for i in range(batch)]
        seeds[batch // 2] = 5
        assert torch.equal(sample(dalle, texts, seeds, config)[batch // 2], alone)


def test_seeds_give_different_pictures_and_the_same_seed_the_same(dalle, text):
    tokens = sample(dalle, text[[0, 0, 0]], [0, 1, 0], PLAIN)
    assert torch.equal(tokens[0], tokens[2])
    assert not torch.equal(tokens[0], tokens[1])


def test_global_randomness_is_neither_used_nor_moved(dalle, text):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = sample(dalle, text, [0, 1, 2], PLAIN)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(sample(dalle, text, [0, 1, 2], PLAIN), first)


def test_the_callers_tensors_stay_as_they_are(dalle, text):
    kept = text.clone()
    weights = {name: x.clone() for name, x in dalle.state_dict().items()}
    sample(dalle, text, [0, 1, 2], SamplingConfig(guidance=3, top_k=5))
    assert torch.equal(text, kept)
    assert all(torch.equal(x, weights[name]) for name, x in dalle.state_dict().items())


def test_tokens_are_image_tokens(dalle, text):
    tokens = sample(dalle, text.repeat(20, 1), range(60), SamplingConfig(temperature=50.0))
    assert tokens.shape == (60, 9) and tokens.dtype == torch.int64
    assert tokens.unique().tolist() == list(range(13)), "so hot that each of the 13 comes up, and nothing else"


def test_every_position_has_noise_of_its_own(dalle, text):
    """So hot that all 13 tokens are equally likely: the token is which thirteenth of [0, 1) the noise lies in."""
    tokens = sample(dalle, text, [4, 5, 6], SamplingConfig(temperature=1e9))
    assert torch.equal(tokens, (draw_noise([4, 5, 6], 9) * 13).long())


def test_each_text_needs_a_seed(dalle, text):
    with pytest.raises(ValueError, match="3 texts and 1 seeds"):
        sample(dalle, text, [0], PLAIN)
    with pytest.raises(ValueError, match="0 texts and 0 seeds"):
        sample(dalle, text[:0], [], PLAIN)


def test_top_k_of_one_is_greedy_and_of_all_is_none(dalle, text):
    """k counts image tokens only: 13 of them, though words and image tokens together are 24."""
    greedy = [sample(dalle, text, seeds, SamplingConfig(top_k=1)) for seeds in ([0, 1, 2], [7, 8, 9])]
    assert torch.equal(*greedy)
    plain = sample(dalle, text, [0, 1, 2], PLAIN)
    for top_k in (13, 24, 1000):
        assert torch.equal(sample(dalle, text, [0, 1, 2], SamplingConfig(top_k=top_k)), plain)
