import pytest
import torch

from calligram.dalle import likelihood
from calligram.dalle.likelihood import information, log_likelihood, log_likelihood_of_texts


def by_teacher_forcing(model, text, pictures):
    """The slow twin: the whole sequence for every pair."""
    return model(text, pictures)[1].log_softmax(-1).gather(2, pictures[..., None])[..., 0]


def test_log_likelihood_is_that_of_teacher_forcing(decoder, text):
    pictures = torch.randint(0, 13, (3, 16), generator=torch.Generator().manual_seed(5))
    found = log_likelihood(decoder, text, pictures)
    torch.testing.assert_close(found, by_teacher_forcing(decoder, text, pictures), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("part", [1, 2 * 9 * 13, 10**9])
def test_parts_change_nothing_and_equal_texts_are_read_once(dalle, text, pictures, monkeypatch, part):
    monkeypatch.setattr(likelihood, "PART", part)
    read = []
    original = dalle.prefill
    monkeypatch.setattr(
        dalle, "prefill", lambda texts, cache: read.append(texts) or original(texts, cache), raising=False
    )
    rows = torch.tensor([0, 1, 0, 0, 2, 1, 0])
    images = pictures[torch.tensor([0, 1, 2, 0, 1, 2, 1])]
    found = log_likelihood(dalle, text[rows], images)
    assert [len(texts) for texts in read] == [1, 1, 1]
    torch.testing.assert_close(found, by_teacher_forcing(dalle, text[rows], images), atol=1e-4, rtol=1e-5)


def test_all_pictures_together_have_probability_one(dalle, text):
    """Of two tokens given, all 169 ways to go on with two more."""
    pairs = torch.cartesian_prod(torch.arange(13), torch.arange(13))
    pictures = torch.cat([torch.tensor([[4, 7]]).expand(169, -1), pairs, torch.zeros(169, 5, dtype=torch.long)], 1)
    log_p = log_likelihood(dalle, text[:1].expand(169, -1), pictures)[:, 2:4].sum(1)
    torch.testing.assert_close(log_p.exp().sum(), torch.tensor(1.0), atol=1e-4, rtol=0)


def test_information_is_nothing_for_the_empty_text_and_something_for_another(dalle, text, pictures):
    assert torch.equal(information(dalle, dalle.drop_text(text), pictures), torch.zeros(3, 9))
    found = information(dalle, text, pictures)
    expected = by_teacher_forcing(dalle, text, pictures) - by_teacher_forcing(dalle, dalle.drop_text(text), pictures)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert found.abs().max() > 0.01


def test_every_picture_under_every_text(dalle, text, pictures):
    texts = text[[2, 0, 2]]
    found = log_likelihood_of_texts(dalle, texts, pictures)
    for column, one in enumerate(texts):
        expected = by_teacher_forcing(dalle, one.expand(3, -1), pictures).sum(1)
        torch.testing.assert_close(found[:, column], expected, atol=1e-4, rtol=1e-5)
