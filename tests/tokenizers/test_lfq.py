"""Signs as codes, and the entropies that keep them in use."""

import math

import pytest
import torch
from vector_quantize_pytorch import LFQ

from calligram.tokenizers.lfq import LFQConfig, LFQTokenizer, entropies
from tests.tokenizers.kinds import LOCAL, pictures, trained


def test_a_token_spells_the_signs_of_its_latent():
    model = trained("lfq")
    latent = torch.tensor([1.0, -2.0, 0.5, -0.1, 3.0]).view(1, 5, 1, 1)
    codes, ids, _ = model.quantize(latent)
    assert codes.flatten().tolist() == [1, -1, 1, -1, 1]
    assert ids.item() == 0b10101
    assert model.codes(ids).flatten().tolist() == [1, -1, 1, -1, 1]


@pytest.mark.parametrize("spherical", [False, True])
def test_losses_are_those_of_the_library_in_one_process(spherical):
    torch.manual_seed(0)
    config = LFQConfig(
        image_size=16, bits=5, spherical=spherical, temperature=0.5, entropy=0.3, diversity=0.7, autoencoder=LOCAL
    )
    model = LFQTokenizer(config).train()
    latent = torch.randn(6, 5, 4, 4, requires_grad=True)
    codes, ids, losses = model.quantize(latent)
    library = LFQ(
        dim=5,
        codebook_size=32,
        spherical=spherical,
        entropy_loss_weight=0.3,
        diversity_gamma=0.7,
        commitment_loss_weight=0.25,
        codebook_scale=1.0,
    ).train()
    theirs = latent.detach().clone().requires_grad_()
    their_codes, their_ids, their_loss = library(theirs, inv_temperature=1 / 0.5)
    assert torch.equal(ids, their_ids)
    torch.testing.assert_close(codes, their_codes)
    ours = torch.stack([*losses.values()]).sum()
    # their logarithm of a probability is cut off at 1e-5
    torch.testing.assert_close(ours, their_loss, atol=2e-3, rtol=1e-3)
    ours.backward()
    their_loss.backward()
    torch.testing.assert_close(latent.grad, theirs.grad, atol=2e-5, rtol=2e-2)


def test_entropies_of_what_is_known():
    sure = torch.tensor([[9.0, 9.0], [9.0, -9.0], [-9.0, 9.0], [-9.0, -9.0]])
    each, even = entropies(sure)
    assert each.item() == pytest.approx(0, abs=1e-6) and even.item() == pytest.approx(math.log(4))
    each, even = entropies(sure[:1].expand(4, 2))
    assert even.item() == pytest.approx(0, abs=1e-6)
    each, even = entropies(torch.zeros(4, 2))
    assert each.item() == even.item() == pytest.approx(math.log(4))


def test_many_bits_are_taken_in_groups():
    latent = torch.randn(50, 15, generator=torch.Generator().manual_seed(0))
    each, even = entropies(latent)
    bits = torch.sigmoid(4 * latent)
    by_hand = (torch.special.entr(bits) + torch.special.entr(1 - bits)).sum(1).mean()
    torch.testing.assert_close(each, by_hand)
    parts = [entropies(part)[1] for part in (latent[:, :12], latent[:, 12:])]
    torch.testing.assert_close(even, sum(parts))


def test_the_librarys_own_training_is_never_run():
    model = trained("lfq").train()
    assert model.training and not model.quantizer.training
    assert set(model.learn(pictures()).losses) == {"commitment", "entropy"}
