import pytest
import torch

from calligram.dalle.sampling import SamplingConfig, sample
from calligram.dalle.sampling.guidance import guide, scales


def test_scales_of_each_schedule():
    assert scales(SamplingConfig(guidance=3.0), 4).tolist() == [3.0] * 4
    assert scales(SamplingConfig(), 4).tolist() == [1.0] * 4
    torch.testing.assert_close(
        scales(SamplingConfig(guidance=3.0, guidance_schedule="linear"), 4), torch.tensor([1.5, 2.5, 3.5, 4.5])
    )
    cosine = scales(SamplingConfig(guidance=3.0, guidance_schedule="cosine"), 4)
    assert (cosine.diff() > 0).all()


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("number", [9, 64, 256])
def test_schedules_have_one_mean(schedule, number):
    found = scales(SamplingConfig(guidance=5.0, guidance_schedule=schedule), number)
    torch.testing.assert_close(found.mean(), torch.tensor(5.0))


def test_an_interval_is_a_share_of_the_picture():
    found = scales(SamplingConfig(guidance=2.0, guidance_interval=(0.25, 0.75)), 8)
    assert found.tolist() == [1, 1, 2, 2, 2, 2, 1, 1]


def test_guiding_at_one_gives_the_conditional_logits_bit_by_bit():
    generator = torch.Generator().manual_seed(0)
    conditional, null = torch.randn(2, 5, 3, 7, generator=generator)
    guided = guide(conditional, null, torch.tensor([1.0, 2.0, 1.0]))
    assert torch.equal(guided[:, [0, 2]], conditional[:, [0, 2]])
    torch.testing.assert_close(guided[:, 1], 2 * conditional[:, 1] - null[:, 1])


class Counted:
    """How many rows the model reads, and of how many tokens."""

    def __init__(self, dalle, monkeypatch):
        self.rows = []
        original = dalle.extend
        monkeypatch.setattr(
            dalle,
            "extend",
            lambda image, cache, first: (
                self.rows.append((len(image), image.shape[1] - first)) or original(image, cache, first)
            ),
            raising=False,
        )


def test_llamagen_interval_pays_for_the_null_half(dalle, text, monkeypatch):
    """Outside the interval the empty text's half isn't read at all."""
    counted = Counted(dalle, monkeypatch)
    sample(dalle, text, [0, 1, 2], SamplingConfig(guidance=3.0, guidance_interval=(0.0, 4 / 9)))
    # token 0 comes of the texts themselves; 1 … 3 are guided
    assert counted.rows == [(6, 1)] * 3 + [(3, 1)] * 5


def test_the_null_half_reads_what_it_missed_when_guidance_begins(dalle, text, monkeypatch):
    counted = Counted(dalle, monkeypatch)
    sample(dalle, text, [0, 1, 2], SamplingConfig(guidance=3.0, guidance_interval=(4 / 9, 1.0)))
    assert counted.rows == [(3, 1)] * 3 + [(3, 1), (3, 4)] + [(6, 1)] * 4


@pytest.mark.parametrize("interval", [(0.0, 0.5), (0.3, 0.8), (0.5, 1.0)])
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("decoding", ["plain", "jacobi"])
def test_schedule_and_interval_agree_with_the_slow_twin(dalle, text, interval, schedule, decoding):
    config = SamplingConfig(
        top_k=1,
        guidance=4.0,
        guidance_schedule=schedule,
        guidance_interval=interval,
        decoding=decoding,
        jacobi_window=4,
    )
    tokens = torch.zeros(3, 9, dtype=torch.int64)
    for position, scale in enumerate(scales(config, 9)):
        conditional = dalle(text, tokens)[1][:, position]
        null = dalle(dalle.drop_text(text), tokens)[1][:, position]
        tokens[:, position] = (null + scale * (conditional - null)).argmax(1)
    assert torch.equal(sample(dalle, text, [0, 1, 2], config), tokens)


def test_dalle_pytorch_null_branch_reuses_conditional_keys(dalle, text):
    """There |conditional − null| was 0 from the second token on. The first token is the same; what follows differs."""
    given = torch.zeros(3, 9, dtype=torch.int64)
    keep = torch.arange(9) < 4
    plain = sample(dalle, text, [0, 1, 2], SamplingConfig(), given=given, keep=keep)
    guided = sample(dalle, text, [0, 1, 2], SamplingConfig(guidance=6.0), given=given, keep=keep)
    assert not torch.equal(plain[:, 4:], guided[:, 4:])


def test_dalle_pytorch_cond_scale_1_drops_the_cache(dalle, text, monkeypatch):
    """At scale 1, as at any, each pass reads one token and not all before it."""
    for scale, rows in ((1.0, 3), (2.0, 6)):
        counted = Counted(dalle, monkeypatch)
        sample(dalle, text, [0, 1, 2], SamplingConfig(guidance=scale))
        assert counted.rows == [(rows, 1)] * 8
        monkeypatch.undo()


def test_dalle_pytorch_zeroes_the_callers_prompt(dalle, text):
    kept = text.clone()
    sample(dalle, text, [0, 1, 2], SamplingConfig(guidance=3.0, guidance_interval=(0.2, 0.7), decoding="jacobi"))
    assert torch.equal(text, kept)


def test_each_text_and_the_empty_one_are_read_once(dalle, text, monkeypatch):
    seen = []
    original = dalle.prefill
    monkeypatch.setattr(
        dalle, "prefill", lambda texts, cache: seen.append(texts) or original(texts, cache), raising=False
    )
    sample(dalle, text[[0, 1, 0, 0, 1]], range(5), SamplingConfig(guidance=3.0))
    (texts,) = seen
    assert len(texts) == 3, "two texts and the empty one, for five pictures"
    assert (texts == dalle.drop_text(texts)[:1]).all(1).sum() == 1
