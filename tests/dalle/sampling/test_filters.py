import pytest
import torch

from calligram.dalle.sampling import SamplingConfig
from calligram.dalle.sampling.filters import choose, probabilities

PLAIN = SamplingConfig()


def chi_square(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


LOGITS = torch.tensor([2.0, -1.0, 0.5, 1.0, -30.0, 0.0])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_choices_follow_the_softmax(temperature):
    noise = torch.rand(20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens = choose(LOGITS.expand(20000, -1), noise, SamplingConfig(temperature=temperature))
    counts = torch.bincount(tokens, minlength=6)
    probabilities = (LOGITS / temperature).softmax(0)
    likely = probabilities > 1e-3
    assert counts[~likely].sum() <= 20
    # 4 degrees of freedom: above 23.5 once in 10,000 tries; the seed is fixed
    assert chi_square(counts[likely], probabilities[likely] / probabilities[likely].sum()) < 23.5


def test_top_k_keeps_the_likeliest_and_their_proportions():
    noise = torch.linspace(0, 1, 5001, dtype=torch.float64)[:-1]
    tokens = choose(LOGITS.expand(5000, -1), noise, SamplingConfig(top_k=3))
    shares = torch.bincount(tokens, minlength=6) / 5000
    expected = LOGITS[[0, 2, 3]].softmax(0)
    torch.testing.assert_close(shares[[0, 2, 3]], expected, atol=1e-3, rtol=0)
    assert shares[[1, 4, 5]].sum() == 0


def test_the_ends_of_the_noise_never_choose_what_is_excluded():
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 1.0, -torch.inf]])
    assert choose(logits, torch.tensor([0.0], dtype=torch.float64), PLAIN).tolist() == [1]
    almost_one = torch.nextafter(torch.tensor([1.0], dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))
    assert choose(logits, almost_one, PLAIN).tolist() == [3]


def kept(**fields) -> list[int]:
    return probabilities(LOGITS, SamplingConfig(**fields)).nonzero()[:, 0].tolist()


def test_top_p_keeps_the_fewest_that_reach_it():
    """Probabilities 0.57, 0.21, 0.13, 0.08, 0.03 and nearly 0, of tokens 0, 3, 2, 5, 1 and 4."""
    assert kept(top_p=0.5) == [0]
    assert kept(top_p=0.6) == [0, 3]
    assert kept(top_p=0.8) == [0, 2, 3]
    assert kept(top_p=1e-9) == [0], "the likeliest always stays"
    assert kept(top_p=1.0) == [0, 1, 2, 3, 4, 5]


def test_top_p_against_its_definition():
    """The slow twin: add tokens, the likeliest first, until p is reached."""
    logits = torch.randn(50, 20, generator=torch.Generator().manual_seed(0)) * 2
    found = probabilities(logits, SamplingConfig(top_p=0.7)) > 0
    for row, row_found in zip(logits.double().softmax(-1), found, strict=True):
        expected, total = set(), 0.0
        for token in row.argsort(descending=True).tolist():
            if total < 0.7:
                expected.add(token)
            total += float(row[token])
        assert expected == set(row_found.nonzero()[:, 0].tolist())


def test_min_p_counts_from_the_likeliest():
    # over the likeliest's: 1, exp(−1), exp(−1.5), exp(−2), exp(−3), exp(−32)
    assert kept(min_p=0.9) == [0]
    assert kept(min_p=0.36) == [0, 3]
    assert kept(min_p=0.2) == [0, 2, 3]
    assert kept(min_p=0.0) == [0, 1, 2, 3, 4, 5]


def test_temperature_comes_before_the_filters_and_the_rest_keeps_its_proportions():
    cold = SamplingConfig(temperature=0.5, top_p=0.9, min_p=0.01)
    found = probabilities(LOGITS, cold)
    expected = (LOGITS[[0, 3]].double() * 2).softmax(0)
    assert found.nonzero()[:, 0].tolist() == [0, 3]
    torch.testing.assert_close(found[[0, 3]], expected)


def test_dalle_pytorch_top_k_on_the_joint_vocabulary(dalle, text):
    """There k was a share of words and image tokens together: 0.9 filtered nothing at all and 1.0 was greedy.

    Here the filters never see a word: the logits are as many as there are image tokens.
    """
    logits = dalle.prefill(text, dalle.new_cache(3))
    assert logits.shape == (3, dalle.image_vocab_size)
    for k in range(1, 13):
        assert (probabilities(logits, SamplingConfig(top_k=k)) > 0).sum(1).tolist() == [k] * 3
    assert (probabilities(logits, SamplingConfig(top_p=0.9)) > 0).sum(1).max() < 13


def test_several_positions_at_once_are_chosen_as_one_by_one():
    generator = torch.Generator().manual_seed(1)
    logits, noise = torch.randn(3, 4, 9, generator=generator), torch.rand(3, 4, generator=generator).double()
    config = SamplingConfig(top_k=7, top_p=0.9, min_p=0.01, temperature=1.3)
    one_by_one = torch.stack([choose(logits[:, i], noise[:, i], config) for i in range(4)], 1)
    assert torch.equal(choose(logits, noise, config), one_by_one)
