"""What is kept stays, what is drawn around it follows the model, and masks mean what they show."""

import pytest
import torch
from PIL import Image, ImageDraw

from calligram.dalle.completion import (
    Completion,
    choose_try,
    derived_seed,
    keep_rows,
    keep_unmasked,
    looks_back_only,
    read_mask,
)
from calligram.dalle.sampling import SamplingConfig, sample
from calligram.errors import UserError

PLAIN = SamplingConfig()
MIDDLE = torch.tensor([1, 1, 1, 1, 0, 0, 1, 1, 1]).bool()  # of 3 × 3: a hole with kept tokens behind it


def test_the_upper_rows_are_kept():
    assert keep_rows(1, 3, 24).tolist() == [True] * 3 + [False] * 6
    assert keep_rows(0, 3).sum() == 0 and keep_rows(3, 3).all()
    with pytest.raises(
        UserError, match="4 rows to keep: a picture has 3 rows of tokens, 8 pixels high each; give 0 to 3"
    ):
        keep_rows(4, 3, 24)
    with pytest.raises(UserError, match="-1 rows"):
        keep_rows(-1, 3)


def test_a_cell_is_drawn_anew_where_one_pixel_of_it_is():
    anew = torch.zeros(6, 6, dtype=torch.bool)
    anew[2, 5] = True  # middle row, right column, one pixel of four
    assert keep_unmasked(anew, 3).tolist() == [True] * 5 + [False] + [True] * 3
    with pytest.raises(ValueError, match="7 x 6 pixels does not divide into 3 x 3"):
        keep_unmasked(torch.zeros(6, 7, dtype=torch.bool), 3)


def test_white_is_drawn_anew_and_so_is_what_is_transparent():
    picture = Image.new("RGB", (30, 30))
    white = Image.new("L", (30, 30))
    ImageDraw.Draw(white).rectangle((0, 0, 9, 29), fill=255)
    found = read_mask(white, picture, 6)
    assert found[:, :2].all() and not found[:, 2:].any()
    see_through = Image.new("RGBA", (30, 30), "white")  # as DALL-E 2 took them: the picture itself with a hole
    see_through.paste((0, 0, 0, 0), (0, 0, 10, 30))
    assert torch.equal(read_mask(see_through, picture, 6), found)
    with pytest.raises(UserError, match="the mask has 30 x 30 pixels and the picture 30 x 20"):
        read_mask(white, Image.new("RGB", (30, 20)), 6)


@pytest.mark.parametrize(("keep", "expected"), [(keep_rows(1, 3), True), (MIDDLE, False), (~MIDDLE, False)])
def test_what_lies_behind_a_hole_is_told_apart(keep, expected):
    assert looks_back_only(keep) == expected
    assert looks_back_only(torch.ones(9, dtype=torch.bool)) and looks_back_only(torch.zeros(9, dtype=torch.bool))


@pytest.mark.parametrize("keep", [keep_rows(2, 3), MIDDLE, ~MIDDLE], ids=["rows", "hole", "middle"])
def test_kept_tokens_are_those_that_were_given(dalle, text, pictures, keep):
    found = Completion(pictures[0], keep).draw(dalle, text, [4, 5, 6], PLAIN)
    assert torch.equal(found[:, keep], pictures[0][keep].expand(3, -1))
    assert len(found[:, ~keep].unique(dim=0)) > 1, "the rest is drawn"


def test_rows_are_drawn_as_the_sampler_draws_them(dalle, text, pictures):
    keep = keep_rows(1, 3)
    found = Completion(pictures[0], keep, tries=8).draw(dalle, text, [4, 5, 6], PLAIN)
    expected = sample(dalle, text, [4, 5, 6], PLAIN, given=pictures[:1].expand(3, -1), keep=keep)
    assert torch.equal(found, expected), "several tries would only cost"


def test_a_completion_depends_on_its_text_and_seed_alone(dalle, text, pictures):
    basis = Completion(pictures[0], MIDDLE, tries=4)
    together = basis.draw(dalle, text, [4, 5, 6], PLAIN)
    assert torch.equal(basis.draw(dalle, text[1:2], [5], PLAIN)[0], together[1])


CORNERS = torch.tensor([True, False, False, True])  # of 2 × 2


def posterior(model, text_1T, given_N) -> torch.Tensor:
    """p of the two tokens between the corners given all others, (9,), by asking the model about each pair."""
    pictures = given_N.repeat(9, 1)
    pictures[:, ~CORNERS] = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    log_p = model(text_1T.expand(9, -1), pictures)[1].log_softmax(-1).gather(2, pictures[..., None])
    return log_p.double().sum((1, 2)).softmax(0)


def test_the_more_tries_the_nearer_to_the_true_conditional(small_dalle, text):
    given = torch.tensor([2, 0, 0, 1])
    true = posterior(small_dalle, text[:1], given)
    distances = []
    for tries in (1, 16):
        found = Completion(given, CORNERS, tries).draw(small_dalle, text[:1].expand(1500, -1), range(1500), PLAIN)
        shares = torch.bincount(found[:, 1] * 3 + found[:, 2], minlength=9) / 1500
        distances.append(float((shares - true).abs().sum() / 2))
    assert distances[0] > 0.1 and distances[1] < 0.06, distances


def test_a_try_is_chosen_by_its_weight():
    weights = torch.tensor([0.1, 0.6, 0.3]).log().double()
    chosen = choose_try(weights.expand(4000, -1) - 500, range(4000))
    assert (torch.bincount(chosen, minlength=3) / 4000 - weights.exp()).abs().max() < 0.03
    assert derived_seed(7, 0) == 7 and len({derived_seed(s, n) for s in range(50) for n in range(-1, 8)}) == 50 * 9


def test_no_tries_are_refused(pictures):
    with pytest.raises(UserError, match="0 tries a picture: give 1 or more"):
        Completion(pictures[0], MIDDLE, tries=0)


def test_every_decoder_completes(decoder, text, larger_pictures):
    keep = ~keep_unmasked(torch.eye(4).bool(), 4)  # a diagonal of kept tokens
    found = Completion(larger_pictures[0], keep, tries=2).draw(decoder, text, [1, 2, 3], PLAIN)
    assert torch.equal(found[:, keep], larger_pictures[0][keep].expand(3, -1))
    assert not torch.equal(found[0], found[1])
