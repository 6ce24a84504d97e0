"""Codebooks that follow the latents, and those that are a map."""

import pytest
import torch
import torch.nn.functional as F

from calligram.tokenizers.vq import AveragedCodebook, VQConfig, VQTokenizer
from tests.tokenizers.kinds import KINDS, LOCAL, pictures, trained


def latents(count: int = 64, channels: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, channels, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["vq", "simvq"])
def test_use_finds_the_codes_that_the_library_finds(kind):
    model = trained(kind)
    latent = latents()
    codes, ids, _ = model.quantize(latent)
    library = model.quantizer.eval()
    their_codes, their_ids, _ = library(latent)
    assert torch.equal(ids, their_ids)
    torch.testing.assert_close(codes, their_codes, atol=1e-5, rtol=1e-5)


def test_codes_are_the_nearest_by_angle():
    model = trained("vq")
    latent = latents(2)
    _, ids, _ = model.quantize(latent)
    codebook = model.quantizer.codebook
    torch.testing.assert_close(codebook.norm(dim=-1), torch.ones(20))
    for b, y, x in ((0, 0, 0), (1, 3, 2)):
        cosines = [F.cosine_similarity(latent[b, :, y, x], code, dim=0).item() for code in codebook]
        assert ids[b, y, x].item() == cosines.index(max(cosines))


def test_the_codebook_follows_what_chooses_it():
    """One step by hand: sums and counts decay, and a code is the direction of its sum."""
    torch.manual_seed(0)
    model = VQTokenizer(VQConfig(image_size=16, vocab_size=8, code_dim=4, autoencoder=LOCAL)).train()
    model.quantize(latents(seed=0))
    book = model.quantizer._codebook
    before = {name: x.clone() for name, x in book.named_buffers()}
    latent = latents(seed=1)
    _, ids, _ = model.quantize(latent)
    unit = F.normalize(latent.movedim(1, -1).reshape(-1, 4), dim=-1)
    chosen = F.one_hot(ids.flatten(), 8).float()
    counts = 0.95 * before["cluster_size"][0] + 0.05 * chosen.sum(0)
    sums = 0.95 * before["embed_avg"][0] + 0.05 * chosen.T @ unit
    torch.testing.assert_close(book.cluster_size[0], counts)
    torch.testing.assert_close(book.embed_avg[0], sums)
    torch.testing.assert_close(book.embed[0], F.normalize(sums, dim=-1))


@pytest.mark.parametrize("dead_below", [0.0, 0.05])
def test_a_code_that_nobody_chooses_begins_anew(dead_below):
    torch.manual_seed(0)
    codebook = AveragedCodebook(decay=0.5, dead_below=dead_below)
    config = VQConfig(image_size=16, vocab_size=16, code_dim=4, codebook=codebook, autoencoder=LOCAL)
    model = VQTokenizer(config).train()
    model.quantize(latents(seed=0))
    with torch.no_grad():
        lost = F.normalize(torch.tensor([-1.0, -1.0, -1.0, -1.0]), dim=0)
        model.quantizer._codebook.embed[0, 3] = lost
        model.quantizer._codebook.embed_avg[0, 3] = lost
    for step in range(12):  # latents that are far away from it
        model.quantize(latents(seed=step).abs())
    used = torch.stack([model.quantize(latents(seed=50 + i).abs())[1] for i in range(3)]).unique()
    assert (3 in used.tolist()) == (dead_below > 0)


def test_what_counts_as_few_does_not_depend_on_the_batch():
    """The library's own threshold is a number of uses, which a batch of half the size halves."""
    model = trained("vq").train()
    for count in (4, 32):
        model.quantize(latents(count))
        average = count * 16 / 20
        assert model.quantizer._codebook.threshold_ema_dead_code == pytest.approx(0.05 * average)
        assert model.quantizer._codebook.reset_cluster_size == pytest.approx(average)


def test_gradients_go_around_the_choice():
    model = trained("vq").train()
    latent = latents().requires_grad_()
    codes, _, losses = model.quantize(latent)
    codes.square().sum().backward(retain_graph=True)
    assert latent.grad is not None and latent.grad.abs().max() > 0
    latent.grad = None
    losses["commitment"].backward()
    assert latent.grad.abs().max() > 0


def test_bf16_changes_no_choice():
    """Under autocast the choice is made in full precision."""
    model = trained("vq")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ids = model.quantize(latents())[1]
    assert torch.equal(ids, model.quantize(latents())[1])


def test_an_untrained_codebook_is_not_begun_by_use():
    torch.manual_seed(0)
    model = VQTokenizer(KINDS["vq"]).eval()
    model.encode(pictures())
    assert not model.quantizer._codebook.initted
