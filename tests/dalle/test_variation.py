"""Variations: the same picture at one end, a new one at the other, and the model's own distribution everywhere."""

import pytest
import torch

from calligram.dalle.sampling import SamplingConfig, sample
from calligram.dalle.variation import Variation
from calligram.errors import UserError

PLAIN = SamplingConfig()
GUIDED = SamplingConfig(guidance=3.0, temperature=0.7, top_k=9)


@pytest.mark.parametrize("config", [PLAIN, GUIDED, SamplingConfig(guidance=2, guidance_interval=(0.2, 0.6))])
def test_strength_0_is_the_picture_itself(dalle, text, config):
    original = sample(dalle, text[:1], [9], config)[0]
    found = Variation(original, 0.0).draw(dalle, text[:1].expand(20, -1), range(20), config)
    assert torch.equal(found, original.expand(20, -1))


def test_more_strength_changes_more(dalle, text):
    original = sample(dalle, text[:1], [9], PLAIN)[0]
    changed = [
        int((Variation(original, s).draw(dalle, text[:1].expand(200, -1), range(200), PLAIN) != original).sum())
        for s in (0.1, 0.4, 1.0)
    ]
    assert 0 < changed[0] < changed[1] < changed[2]


def test_a_variation_depends_on_its_text_and_seed_alone(dalle, text, pictures):
    basis = Variation(pictures[0], 0.4)
    together = basis.draw(dalle, text, [4, 5, 6], GUIDED)
    assert torch.equal(basis.draw(dalle, text[1:2], [5], GUIDED)[0], together[1])


def numbers(tokens_BN: torch.Tensor) -> torch.Tensor:
    """Which of the 81 pictures each is."""
    return (tokens_BN * torch.tensor([27, 9, 3, 1])).sum(1)


@pytest.mark.parametrize(
    "config", [PLAIN, SamplingConfig(guidance=2, temperature=1.5, top_k=2)], ids=["plain", "guided"]
)
@pytest.mark.parametrize("other_text", [False, True], ids=["same text", "other text"])
def test_variations_of_the_models_pictures_are_pictures_of_the_model(small_dalle, text, config, other_text):
    """4,000 drawings, and a variation of each of 4,000 others: two samples of one distribution over 81 pictures."""
    number, new, old = 4000, text[:1], text[1:2] if other_text else text[:1]
    originals = sample(small_dalle, old.expand(number, -1), range(number), config)
    drawn = sample(small_dalle, new.expand(number, -1), range(10**6, 10**6 + number), config)
    varied = torch.empty_like(originals)
    for picture in originals.unique(dim=0):
        rows = (originals == picture).all(1).nonzero()[:, 0]
        basis = Variation(picture, 0.3, old[0])
        varied[rows] = basis.draw(small_dalle, new.expand(len(rows), -1), (rows + 2 * 10**6).tolist(), config)
    a, b = (torch.bincount(numbers(x), minlength=81).double() for x in (drawn, varied))
    common = a + b >= 20
    difference = ((a - b)[common] ** 2 / (a + b)[common]).sum()
    freedom = int(common.sum())
    assert freedom >= 5
    # the mean of chi square is its freedom, its deviation the root of twice that; the seeds are fixed
    assert float(difference) < freedom + 4 * (2 * freedom) ** 0.5
    if other_text:
        untouched = torch.bincount(numbers(originals), minlength=81).double()
        assert (a - untouched).abs().sum() > 10 * (a - b).abs().sum() / 4, "texts that draw alike would test nothing"


def test_what_two_texts_agree_on_stays(dalle, text):
    """With strength 0 and another text only what that text makes less likely changes."""
    original = sample(dalle, text[:1], [9], PLAIN)[0]
    new = text[1:2].expand(300, -1)
    edited = Variation(original, 0.0, text[0]).draw(dalle, new, range(300), PLAIN)
    anew = sample(dalle, new, range(300), PLAIN)
    assert 0 < (edited != original).sum() < (anew != original).sum()


def test_a_token_that_filters_exclude_may_stay(dalle, text):
    """Somebody's own picture is nothing that a filtered model draws."""
    strict = SamplingConfig(top_k=1)
    greedy = sample(dalle, text[:1], [0], strict)[0]
    own = (greedy + 1) % 13
    found = Variation(own, 0.0).draw(dalle, text[:1], [3], strict)
    assert torch.equal(found[0], own)


def test_a_strength_that_is_no_share_is_refused(pictures):
    with pytest.raises(UserError, match=r"strength 1\.5 is no share of a picture: give 0"):
        Variation(pictures[0], 1.5)


@pytest.mark.parametrize("step", ["plain", "fast"])
def test_every_decoder_gives_the_picture_back_and_varies_it(decoder, text, larger_pictures, step):
    config = SamplingConfig(guidance=2.0, step=step)
    for strength, least, most in ((0.0, 0, 0), (0.7, 1, 16)):
        found = Variation(larger_pictures[0], strength).draw(decoder, text[:2], [1, 2], config)
        changed = int((found != larger_pictures[0]).any(0).sum())
        assert least <= changed <= most
