"""The dVAE against what its paper says, written out a second time."""

import math

import pytest
import torch

from calligram.tokenizers.dvae import (
    DVAEConfig,
    DVAETokenizer,
    _soft_choice,
    kl_to_uniform,
    map_pixels,
    negative_log_likelihood,
    unmap_pixels,
)
from tests.tokenizers.kinds import KINDS, pictures


@pytest.fixture
def model() -> DVAETokenizer:
    torch.manual_seed(0)
    return DVAETokenizer(KINDS["dvae"]).train()


def test_dalle_pytorch_kl_batchmean_grows_with_the_batch():
    """DALLE-pytorch sums the divergence over the tokens of a batch and divides by something else: here it is a mean."""
    logits = torch.randn(3, 20, 4, 4, generator=torch.Generator().manual_seed(0))
    alone = kl_to_uniform(logits)
    for copies in (2, 8):
        torch.testing.assert_close(kl_to_uniform(logits.repeat(copies, 1, 1, 1)), alone)
    torch.testing.assert_close(kl_to_uniform(logits.repeat(1, 1, 2, 2)), alone)  # nor with the grid


def test_the_divergence_is_that_of_torch():
    logits = torch.randn(3, 20, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    choice = torch.distributions.Categorical(logits=logits.movedim(1, -1))
    even = torch.distributions.Categorical(logits=torch.zeros(20).double())
    torch.testing.assert_close(kl_to_uniform(logits), torch.distributions.kl_divergence(choice, even).mean())
    assert kl_to_uniform(torch.zeros(1, 20, 2, 2)).abs() < 1e-6


def test_the_logit_laplace_density_is_one_over_the_unit_interval():
    x = torch.linspace(1e-5, 1 - 1e-5, 200_001, dtype=torch.float64)
    for place, log_scale in ((0.0, 0.0), (0.7, -1.0), (-1.2, 0.5)):
        nats = torch.stack([negative_log_likelihood(v, *torch.tensor([place, log_scale]).double()) for v in x[::2000]])
        b = math.exp(-4 + math.log1p(math.exp(log_scale + 4)))  # the scale's lower bound is soft
        by_hand = -torch.log(
            torch.exp(-(torch.logit(x[::2000]) - place).abs() / b) / (2 * b * x[::2000] * (1 - x[::2000]))
        )
        torch.testing.assert_close(nats, by_hand)
        density = torch.exp(-(torch.logit(x) - place).abs() / b) / (2 * b * x * (1 - x))
        assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=2e-3)


def test_a_background_of_one_colour_is_not_worth_the_world():
    """Without a bound the likelihood of pixels that are known exactly would be infinite."""
    white = torch.full((4,), 0.9)
    known = torch.logit(white)
    nats = [negative_log_likelihood(white, known, torch.full((4,), scale)).item() for scale in (-5.0, -50.0, -500.0)]
    assert nats[0] - nats[2] < 0.5 and math.isfinite(nats[2])


def test_pixels_come_back_from_their_map():
    images = torch.rand(2, 3, 4, 4)
    assert map_pixels(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.1, 0.9])
    torch.testing.assert_close(unmap_pixels(map_pixels(images)), images)


def test_schedules():
    config = DVAEConfig(temperature_steps=100, kl_steps=10, kl_weight=6.6)
    assert config.temperature(0) == 1
    assert config.temperature(50) == pytest.approx((1 + 1 / 16) / 2)
    assert config.temperature(100) == config.temperature(10_000) == pytest.approx(1 / 16)
    assert [config.kl_weight_at(step) for step in (0, 5, 10, 99)] == pytest.approx([0, 3.3, 6.6, 6.6])
    values = [config.temperature(step) for step in range(101)]
    assert values == sorted(values, reverse=True)


def test_the_loss_follows_the_step_alone(model):
    def losses(step: int) -> dict[str, float]:
        model.at_step(step)
        torch.manual_seed(1)
        return {name: value.item() for name, value in model.learn(pictures()).losses.items()}

    first, later = losses(0), losses(4000)
    assert first["kl"] == 0 and later["kl"] > 0
    assert losses(0) == first and losses(4000) == later
    kl = model.learn(pictures()).facts["kl_nats"].item()
    # in nats a pixel value: a token of 4 × 4 pixels stands for 48 of them
    assert later["kl"] == pytest.approx(model.config.kl_weight_at(4000) * kl / 48, rel=1e-5)


def test_the_soft_choice_hardens(model):
    logits = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))
    largest = []
    for step in (0, 75_000, 150_000):
        model.at_step(step)
        torch.manual_seed(0)
        shares = _soft_choice(logits, model.temperature)
        torch.manual_seed(0)
        theirs = torch.nn.functional.gumbel_softmax(logits, model.temperature.item(), dim=1)
        torch.testing.assert_close(shares, theirs)
        largest.append(shares.max(1).values.mean().item())
    assert largest[0] < 0.6 < 0.9 < largest[2] and largest == sorted(largest)


def test_tokens_are_the_most_likely_ones_and_need_no_noise(model):
    model.eval()
    ids = [model.encode(pictures()) for _ in range(2)]
    assert torch.equal(*ids)
    logits = model.encoder(map_pixels(pictures() / 255))
    assert torch.equal(ids[0], logits.argmax(1).flatten(1))


def test_looking_an_id_up_is_decoding_its_one_hot_vector(model):
    ids = torch.randint(0, 20, (3, 4, 4), generator=torch.Generator().manual_seed(0))
    one_hot = torch.nn.functional.one_hot(ids, 20).movedim(-1, 1).float()
    torch.testing.assert_close(model.decoder.from_ids(ids), model.decoder(one_hot), atol=1e-6, rtol=1e-5)


def test_colours_are_not_stretched_picture_by_picture(model):
    """DALLE-pytorch shows each picture min-max normalised, which shifts its colours: a batch must not matter."""
    ids = model.eval().encode(pictures())
    decoded = model.decode(ids)
    shown = model.decode(ids[:1])
    torch.testing.assert_close(decoded[:1], shown)
    places, _ = model.decoder.from_ids(ids[:1].unflatten(1, (4, 4))).chunk(2, dim=1)
    torch.testing.assert_close(shown, ((places.sigmoid() - 0.1) / 0.8).clamp(0, 1))
