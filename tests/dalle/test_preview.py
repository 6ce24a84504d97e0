"""Half-drawn pictures: grey where nothing is, and the very pixels of the picture where all is known."""

import pytest
import torch

from calligram.dalle.preview import GREY, HalfDrawn, drawing_frames, reveal
from calligram.nn.image import to_uint8
from calligram.tokenizers.autoencoder import AutoencoderConfig
from calligram.tokenizers.fsq import FSQConfig, FSQTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> FSQTokenizer:
    """4 × 4 tokens of 4 × 4 pixels."""
    torch.manual_seed(0)
    made = FSQTokenizer(
        FSQConfig(image_size=16, levels=(5, 5), autoencoder=AutoencoderConfig(patch=4, channels=(16,), num_blocks=1))
    )
    for parameter in made.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return made.eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 25, (2, 16), generator=torch.Generator().manual_seed(1))


def known(number: int) -> torch.Tensor:
    return torch.arange(16) < number


def test_what_is_not_known_is_grey_and_nothing_else(tokenizer, tokens):
    pixels = reveal(tokenizer, tokens, known(6))
    assert pixels.dtype == torch.uint8 and pixels.shape == (2, 3, 16, 16)
    assert (pixels[:, :, 8:] == GREY).all() and (pixels[:, :, 4:8, 8:] == GREY).all()
    assert (pixels[:, :, :4] != GREY).any() and (pixels[:, :, 4:8, :8] != GREY).any()


def test_all_known_is_the_picture(tokenizer, tokens):
    assert torch.equal(reveal(tokenizer, tokens, known(16)), to_uint8(tokenizer.decode(tokens)))
    assert (reveal(tokenizer, tokens, known(0)) == GREY).all()


def test_tokens_that_are_not_known_change_nothing(tokenizer, tokens):
    """They are guesses, zeros, or whatever lay in memory, even no tokens at all."""
    other = tokens.clone()
    other[:, 6:] = -7
    assert torch.equal(reveal(tokenizer, other, known(6)), reveal(tokenizer, tokens, known(6)))


def test_whoever_watches_gets_pictures(tokenizer, tokens):
    half = HalfDrawn(tokens, known(6), tokenizer)
    assert (half.num_known, half.num_tokens) == (6, 16)
    assert [picture.size for picture in half.images()] == [(16, 16)] * 2


def test_frames_run_from_what_was_given_to_the_whole(tokenizer, tokens):
    frames = drawing_frames(tokenizer, tokens, known(4), max_frames=5)
    assert frames.shape == (5, 2, 3, 16, 16)
    assert torch.equal(frames[0], reveal(tokenizer, tokens, known(4)))
    assert torch.equal(frames[-1], to_uint8(tokenizer.decode(tokens)))
    drawn = [int((frame != GREY).any(1).sum()) for frame in frames]
    assert drawn == sorted(drawn)


def test_no_more_frames_than_there_are_steps(tokenizer, tokens):
    assert len(drawing_frames(tokenizer, tokens)) == 17
    assert len(drawing_frames(tokenizer, tokens, max_frames=9)) == 9
    assert len(drawing_frames(tokenizer, tokens, known(16))) == 1


def test_a_mask_of_any_form_is_drawn_around(tokenizer, tokens):
    keep = torch.arange(16) % 2 == 0
    frames = drawing_frames(tokenizer, tokens, keep)
    assert len(frames) == 9
    assert torch.equal(frames[0], reveal(tokenizer, tokens, keep))
