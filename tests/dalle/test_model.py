import pytest
import torch
from pydantic import ValidationError

from calligram.dalle.model import Dalle, DalleConfig


@torch.no_grad()
def stepwise(model: Dalle, text, pictures):
    """Logits of every image token, one step at a time over a cache."""
    cache = model.transformer.new_cache(len(text), model.text_length + model.num_image_tokens - 1)
    logits = [model.prefill(text, cache)]
    for position in range(model.num_image_tokens - 1):
        logits.append(model.step(pictures[:, : position + 1], cache))
    return torch.stack(logits, 1)


def test_shapes_of_the_two_vocabularies(dalle, text, pictures):
    text_logits, image_logits = dalle(text, pictures)
    assert text_logits.shape == (3, 5, 11)
    assert image_logits.shape == (3, 9, 13)


def test_step_by_step_as_all_at_once(dalle, text, pictures):
    torch.testing.assert_close(stepwise(dalle, text, pictures), dalle(text, pictures)[1], atol=1e-5, rtol=1e-5)


def test_a_token_sees_all_text_and_the_tokens_before_it(dalle, text, pictures):
    before = dalle(text, pictures)[1]
    changed = pictures.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 13
    difference = (dalle(text, changed)[1] - before).abs().amax((0, 2))
    assert difference[:5].max() < 1e-5, "logits at i are those of token i: it must not see itself"
    assert difference[5:].min() > 1e-3
    other_text = text.clone()
    other_text[:, 1] = 4
    assert (dalle(other_text, pictures)[1] - before).abs().amax(2).min() > 1e-3


def test_text_logits_do_not_see_the_picture(dalle, text, pictures):
    torch.testing.assert_close(dalle(text, pictures)[0], dalle(text, 12 - pictures)[0], atol=1e-6, rtol=1e-6)


def test_text_logits_do_not_see_later_words(dalle, text, pictures):
    later = text.clone()
    later[2, 3] = 4
    difference = (dalle(text, pictures)[0] - dalle(later, pictures)[0])[2].abs().amax(1)
    assert difference[:3].max() < 1e-6 < 1e-3 < difference[3:].min()


def test_what_lies_behind_the_end_does_not_matter(dalle, text, pictures):
    littered = torch.where(dalle.padding(text), torch.full_like(text, 9), text)
    assert not torch.equal(littered, text)
    for ours, theirs in zip(dalle(text, pictures), dalle(littered, pictures), strict=True):
        assert torch.equal(ours, theirs)


def test_padding_begins_behind_the_first_end(dalle, text):
    assert dalle.padding(text).int().tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]]
    assert dalle.padding(torch.tensor([[1, 2, 5, 2, 2, 5]])).int().tolist() == [[0, 0, 1, 1, 1, 1]]


def test_a_dropped_text_is_start_and_end_alone(dalle, text):
    kept = text.clone()
    dropped = dalle.drop_text(text)
    assert dropped[:, :2].tolist() == [[1, 2]] * 3
    assert dalle.padding(dropped)[:, 2:].all() and not dalle.padding(dropped)[:, :2].any()
    assert torch.equal(text, kept), "the caller's texts stay as they are"


def test_pads_are_learned_one_a_position(dalle, text, pictures):
    model = Dalle(dalle.config, 11, 13, 3, end_id=2)
    model(text, pictures)[1].sum().backward()
    moved = model.pad.grad.abs().amax(1) > 0
    # the first four positions of every text here are start, words and end at least in part
    assert moved.tolist() == [False, False, False, True, True, True]


def test_words_and_image_tokens_have_tables_of_their_own(dalle, text, pictures):
    """The same number means a word on one side and a piece of picture on the other."""
    changed = Dalle(dalle.config, 11, 13, 3, end_id=2).eval()
    changed.load_state_dict(dalle.state_dict())
    with torch.no_grad():
        changed.text_embed.weight[7] += 1
        changed.text_bias[7] += 1
    image_sevens = torch.full_like(pictures, 7)
    without = torch.tensor([[1, 5, 2, 0, 0, 0]] * 3)
    assert torch.equal(dalle(without, image_sevens)[1], changed(without, image_sevens)[1])
    assert not torch.equal(dalle(without, image_sevens)[0], changed(without, image_sevens)[0])


def test_an_image_token_comes_with_its_place_and_what_stands_above_its_successor(dalle, pictures):
    embedded = dalle.embed_image(pictures[:, :8])
    table = dalle.image_embed.weight
    for position in range(8):
        row, column = divmod(position, 3)
        expected = table[pictures[:, position]] + dalle.row_positions[row, 0] + dalle.column_positions[0, column]
        next_row, next_column = divmod(position + 1, 3)
        for gain, shift in zip(dalle.above_gain, (-1, 0, 1), strict=True):
            y, x = next_row - 1, next_column + shift
            inside = y >= 0 and 0 <= x < 3
            expected = expected + gain * (table[pictures[:, y * 3 + x]] if inside else dalle.outside)
        torch.testing.assert_close(embedded[:, position], expected)
        torch.testing.assert_close(dalle.embed_image(pictures[:, : position + 1], first=position)[:, 0], expected)


def test_wrong_configs_are_refused():
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        DalleConfig(text_length=2)
