"""What the task adds up, and what it tells."""

import math

import pytest
import torch

from calligram.tokenizers.discriminator import PatchDiscriminator, deceiving_loss, hinge_loss
from calligram.tokenizers.losses import DiscriminatorConfig, TokenizerLossConfig
from calligram.tokenizers.task import DEAD_AFTER, ReconstructionTask
from tests.tokenizers.kinds import pictures, trained

RIVAL = DiscriminatorConfig(weight=0.5, start=3, width=8, num_layers=2)


def test_losses_add_up():
    model = trained("vq").train()
    task = ReconstructionTask(
        model, TokenizerLossConfig(l2_weight=0.5, l1_weight=2), {"apart": (3.0, lambda a, b: (a - b).abs().amax())}
    )
    loss, metrics = task({"image": pictures()})
    parts = ("pixels", "commitment", "apart")
    assert loss.item() == pytest.approx(sum(metrics[f"{name}_loss"].item() for name in parts))
    mse = 10 ** (-metrics["psnr_db"].item() / 10)
    assert metrics["pixels_loss"].item() > 10 * 0.5 * mse
    assert metrics["apart_loss"].item() > 0


def test_a_dvae_has_its_likelihood_instead_of_an_error_of_pixels():
    model = trained("dvae").train()
    _, metrics = ReconstructionTask(model)({"image": pictures()})
    assert metrics["pixels_loss"] == 0 and metrics["likelihood_loss"] != 0
    _, metrics = ReconstructionTask(model, TokenizerLossConfig(l1_weight=1))({"image": pictures()})
    assert metrics["pixels_loss"] > 0


def test_usage_is_counted_by_hand():
    model = trained("fsq")
    _, metrics = ReconstructionTask(model)({"image": pictures()})
    ids = model.encode(pictures()).flatten().tolist()
    shares = [ids.count(code) / len(ids) for code in set(ids)]
    assert metrics["batch_usage"].item() == pytest.approx(len(shares) / 20)
    assert metrics["batch_perplexity"].item() == pytest.approx(
        math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-5
    )


def test_codes_that_are_not_seen_for_long_are_dead():
    model = trained("fsq")
    task = ReconstructionTask(model)
    dead = [task({"image": pictures(2)})[1]["dead_codes"].item() for _ in range(DEAD_AFTER + 1)]
    never = 20 - len(model.encode(pictures(2)).unique())
    assert never > 0 and dead[DEAD_AFTER - 2] == 0 and dead[DEAD_AFTER - 1] == dead[-1] == never
    task({"image": pictures(64, seed=9)})
    seen = set(model.encode(pictures(64, seed=9)).unique().tolist()) | set(model.encode(pictures(2)).unique().tolist())
    assert task({"image": pictures(2)})[1]["dead_codes"].item() == 20 - len(seen)


def test_usage_is_that_of_all_processes():
    model = trained("fsq")
    elsewhere = torch.zeros(20)
    elsewhere[7] = 1.0
    both = ReconstructionTask(model, mean=lambda x: (x + elsewhere) / 2)
    _, metrics = both({"image": pictures(1)})
    used = set(model.encode(pictures(1)).unique().tolist()) | {7}
    assert metrics["batch_usage"].item() == pytest.approx(len(used) / 20)


def test_the_discriminator_learns_from_its_own_loss_alone_and_the_tokenizer_from_the_others():
    model = trained("fsq").train()
    task = ReconstructionTask(model, TokenizerLossConfig(discriminator=RIVAL.model_copy(update={"start": 0})))
    rebuilt = model(pictures())[0]
    real = pictures() / 255
    rival = task.companion
    assert rival is not None
    own = torch.autograd.grad(hinge_loss(rival, real, rebuilt), [*rival.parameters()])
    plain = 10 * ((rebuilt - real).square().mean() + 0.1 * (rebuilt - real).abs().mean())
    wanted = torch.autograd.grad(plain - 0.5 * rival(rebuilt).mean(), [*model.parameters()])
    loss, metrics = task({"image": pictures()})
    loss.backward()
    for p, gradient in zip(rival.parameters(), own, strict=True):
        torch.testing.assert_close(p.grad, gradient)
    for p, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, gradient)
    by_hand = ((1 - rival(real)).clamp(min=0).mean() + (1 + rival(rebuilt)).clamp(min=0).mean()) / 2
    assert metrics["discriminator_loss"].item() == pytest.approx(by_hand.item())


def test_the_discriminator_waits_for_its_step():
    model = trained("fsq").train()
    task = ReconstructionTask(model, TokenizerLossConfig(discriminator=RIVAL))
    assert task.companion is not None
    plain = ReconstructionTask(model)({"image": pictures()})[0]
    for step, has_begun in ((0, False), (2, False), (3, True), (1, False)):
        task.at_step(step)
        task.zero_grad()
        loss, metrics = task({"image": pictures()})
        loss.backward()
        gradients = [p.grad for p in task.companion.parameters()]
        assert all(g is not None for g in gradients)  # several processes would wait for it
        assert any(g.any() for g in gradients) == has_begun
        assert (loss != plain) == has_begun and ("deceiving_loss" in metrics) == has_begun


def test_the_discriminator_is_no_part_of_the_tokenizer():
    model = trained("fsq")
    names = set(model.state_dict())
    task = ReconstructionTask(model, TokenizerLossConfig(discriminator=RIVAL))
    assert set(model.state_dict()) == names
    assert {name.split(".")[0] for name, _ in task.named_parameters()} == {"model", "companion"}
    assert ReconstructionTask(model).companion is None


def test_a_discriminator_learns_to_tell():
    torch.manual_seed(0)
    rival = PatchDiscriminator(RIVAL)
    optimizer = torch.optim.Adam(rival.parameters(), lr=3e-3)
    real, fake = pictures(16) / 255, torch.rand(16, 3, 16, 16)
    losses = []
    for _ in range(30):
        loss = hinge_loss(rival, real, fake)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] > 0.5 and losses[-1] < 0.2
    assert deceiving_loss(rival, real) < deceiving_loss(rival, fake)
