import pytest
import torch
from scipy.stats import chi2

from calligram.dalle.model import Dalle, DalleConfig
from calligram.dalle.sampling import SamplingConfig, sample
from calligram.nn.transformer import TransformerConfig


@pytest.mark.parametrize("window", [2, 3, 9, 50])
@pytest.mark.parametrize(
    "fields",
    [{}, {"guidance": 3.0}, {"guidance": 3.0, "guidance_interval": (0.4, 0.8)}, {"top_p": 0.8, "temperature": 0.5}],
    ids=["plain", "guided", "interval", "filtered"],
)
def test_the_picture_is_that_of_plain_decoding(dalle, text, window, fields):
    texts, seeds = text.repeat(4, 1), range(12)
    jacobi = SamplingConfig(decoding="jacobi", jacobi_window=window, **fields)
    plain = SamplingConfig(**fields)
    assert torch.equal(sample(dalle, texts, seeds, jacobi), sample(dalle, texts, seeds, plain))


def test_a_picture_depends_on_its_text_and_seed_alone(dalle, text):
    config = SamplingConfig(decoding="jacobi", jacobi_window=5, guidance=2.0)
    alone = sample(dalle, text[:1], [5], config)[0]
    for batch in (7, 32):
        texts, seeds = text[torch.arange(batch) % 3], [100 + i for i in range(batch)]
        texts[batch // 2], seeds[batch // 2] = text[0], 5
        assert torch.equal(sample(dalle, texts, seeds, config)[batch // 2], alone)


def all_pictures(vocab: int, number: int) -> torch.Tensor:
    return torch.cartesian_prod(*[torch.arange(vocab)] * number)


@pytest.mark.slow
@pytest.mark.parametrize("decoding", ["plain", "jacobi"])
def test_pictures_have_the_probabilities_that_the_model_gives_them(decoding):
    """Chi-square over whole pictures, all 81 of 4 tokens from 3: the joint distribution, not only each token's."""
    torch.manual_seed(0)
    config = DalleConfig(text_length=4, transformer=TransformerConfig(width=16, num_layers=1, num_heads=2))
    model = Dalle(config, text_vocab_size=5, image_vocab_size=3, grid=2, end_id=2).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    text = torch.tensor([[1, 3, 2, 0]])
    pictures = all_pictures(3, 4)
    log_p = model(text.expand(81, -1), pictures)[1].double().log_softmax(-1).gather(2, pictures[..., None]).sum((1, 2))
    torch.testing.assert_close(log_p.exp().sum(), torch.tensor(1.0, dtype=torch.float64))
    number = 40_000
    counts = torch.zeros(81)
    for first in range(0, number, 2000):
        seeds = range(first, first + 2000)
        tokens = sample(model, text.expand(2000, -1), seeds, SamplingConfig(decoding=decoding, jacobi_window=3))
        counts += torch.bincount((tokens * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81)
    expected = log_p.exp() * number
    rare = expected < 10  # chi-square is none for cells of a few: these are one together
    assert 5 < int(rare.sum()) < 40
    cells = [torch.cat([x[~rare], x[rare].sum()[None]]).double() for x in (counts, expected)]
    statistic = float(((cells[0] - cells[1]) ** 2 / cells[1]).sum())
    assert chi2.sf(statistic, len(cells[0]) - 1) > 1e-3  # the seeds are fixed
