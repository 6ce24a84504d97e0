import pytest
import torch

from calligram.dalle.sampling import SamplingConfig, sample
from calligram.errors import UserError

PLAIN, JACOBI = SamplingConfig(), SamplingConfig(decoding="jacobi", jacobi_window=4)
GUIDED = SamplingConfig(guidance=3.0, guidance_interval=(0.3, 0.9))
TOP_ROWS = torch.arange(9) < 6


@pytest.mark.parametrize("config", [PLAIN, JACOBI, GUIDED], ids=["plain", "jacobi", "guided"])
def test_kept_tokens_stay_and_the_rest_follows_from_them(dalle, text, pictures, config):
    """Against the slow twin: the whole sequence anew for each token, no cache."""
    keep = torch.tensor([1, 1, 0, 0, 1, 0, 0, 0, 1]).bool()
    greedy = config.model_copy(update={"top_k": 1})
    found = sample(dalle, text, [0, 1, 2], greedy, given=pictures, keep=keep)
    assert torch.equal(found[:, keep], pictures[:, keep])
    logits, null = dalle(text, found)[1], dalle(dalle.drop_text(text), found)[1]
    from calligram.dalle.sampling.guidance import scales

    best = (null + scales(config, 9)[:, None] * (logits - null)).argmax(-1)
    assert torch.equal(found[:, ~keep], best[:, ~keep])


@pytest.mark.parametrize("config", [PLAIN, JACOBI, GUIDED], ids=["plain", "jacobi", "guided"])
def test_what_plain_sampling_drew_is_drawn_again_from_its_top_rows(dalle, text, config):
    """A position's noise is its own, whether or not those before it were drawn."""
    whole = sample(dalle, text, [0, 1, 2], config)
    assert torch.equal(sample(dalle, text, [0, 1, 2], config, given=whole, keep=TOP_ROWS), whole)


@pytest.mark.parametrize("config", [PLAIN, JACOBI], ids=["plain", "jacobi"])
def test_every_picture_may_keep_other_tokens(dalle, text, pictures, config):
    keep = torch.rand(3, 9, generator=torch.Generator().manual_seed(0)) < 0.5
    together = sample(dalle, text, [0, 1, 2], config, given=pictures, keep=keep)
    for row in range(3):
        alone = sample(dalle, text[[row]], [row], config, given=pictures[[row]], keep=keep[[row]])
        assert torch.equal(together[[row]], alone)


def test_rows_that_all_keep_are_read_in_one_pass(dalle, text, pictures, monkeypatch):
    passes = []
    original = dalle.extend
    monkeypatch.setattr(
        dalle,
        "extend",
        lambda image, cache, first: passes.append(image.shape[1] - first) or original(image, cache, first),
        raising=False,
    )
    sample(dalle, text, [0, 1, 2], PLAIN, given=pictures, keep=TOP_ROWS)
    assert passes == [6, 1, 1]


def test_keeping_all_gives_it_back_and_the_callers_tensors_stay(dalle, text, pictures):
    kept = pictures.clone()
    found = sample(dalle, text, [0, 1, 2], PLAIN, given=pictures, keep=torch.ones(9, dtype=torch.bool))
    assert torch.equal(found, pictures) and found.data_ptr() != pictures.data_ptr()
    assert torch.equal(pictures, kept)


def test_what_is_not_kept_of_the_given_tokens_plays_no_part(dalle, text, pictures):
    other = torch.where(TOP_ROWS, pictures, torch.full_like(pictures, 99))
    found = sample(dalle, text, [0, 1, 2], PLAIN, given=other, keep=TOP_ROWS)
    assert torch.equal(found, sample(dalle, text, [0, 1, 2], PLAIN, given=pictures, keep=TOP_ROWS))


def test_what_does_not_fit_is_refused(dalle, text, pictures):
    for given, keep, message in (
        (pictures, None, "both or neither"),
        (pictures[:, :8], TOP_ROWS, r"\(3, 8\)"),
        (pictures, TOP_ROWS[:8], r"\(8,\)"),
        (pictures, TOP_ROWS.long(), "boolean"),
        (pictures + 13, TOP_ROWS, "vocabulary of 13"),
        (pictures - 13, TOP_ROWS, "vocabulary of 13"),
    ):
        with pytest.raises(UserError, match=message):
            sample(dalle, text, [0, 1, 2], PLAIN, given=given, keep=keep)


@pytest.mark.parametrize("config", [PLAIN, JACOBI], ids=["plain", "jacobi"])
def test_the_watcher_sees_final_tokens_and_cannot_change_them(dalle, text, config):
    seen = []

    def watch(position, tokens):
        seen.append((position, tokens.clone()))
        tokens.zero_()

    final = sample(dalle, text, [0, 1, 2], config, watch=watch)
    assert torch.equal(final, sample(dalle, text, [0, 1, 2], config))
    positions = [position for position, _ in seen]
    assert positions == sorted(set(positions)) and positions[-1] == 9
    for position, tokens in seen:
        assert torch.equal(tokens[:, :position], final[:, :position])
