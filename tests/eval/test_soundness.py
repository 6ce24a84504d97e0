"""A CLIP that is out of order is told, and no figure is taken from it."""

import pytest
import torch

from calligram.clip.zero_shot import ClipPipeline, load_clip
from calligram.errors import UserError
from calligram.eval.runner import load_models
from calligram.eval.soundness import check_clip


@pytest.fixture
def clip(tiny_runs) -> ClipPipeline:
    return load_clip(tiny_runs.clip)


def test_one_that_is_in_order_passes(clip):
    check_clip(clip, "tiny")


def swap(clip):
    image, text = clip.model.encode_image, clip.model.encode_text
    clip.model.encode_image, clip.model.encode_text = text, image


def swap_outputs(clip):
    """As a forward that returns its two results in the wrong order."""
    text_BE = clip.embed_texts(["a red circle", "a blue star"])
    clip.model.encode_image = lambda images: text_BE


def not_finite(clip):
    with torch.no_grad():
        next(p for name, p in clip.model.named_parameters() if name.startswith("visual")).fill_(float("nan"))


def not_unit(clip):
    encode = clip.model.encode_text
    clip.model.encode_text = lambda text_BT: 3 * encode(text_BT)


def constant(clip):
    encode = clip.model.encode_image
    clip.model.encode_image = lambda images: encode(images)[:1].expand(len(images), -1)


def blind(clip):
    encode = clip.model.encode_image
    clip.model.encode_image = lambda images: encode(torch.zeros_like(images))


def shuffled(clip):
    encode = clip.model.encode_image
    clip.model.encode_image = lambda images: encode(images).flip(0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (swap, "tiny: its image tower cannot read a picture .*swapped"),
        (swap_outputs, r"its image tower gives \(2, 8\) for 3 pictures, not a vector each"),
        (not_finite, "its image tower gives vectors that are not finite"),
        (not_unit, "its text tower gives a vector of length 3, not 1"),
        (constant, "its image tower gives the same vector for 3 different pictures"),
        (blind, "its image tower gives the same vector"),
        (shuffled, "its image tower gives another vector for a picture that comes alone"),
    ],
)
def test_each_damage_is_told_in_a_line(clip, damage, message):
    damage(clip)
    with pytest.raises(UserError, match=message) as told:
        check_clip(clip, "tiny")
    assert "\n" not in str(told.value)


def test_it_is_asked_when_a_model_is_loaded(tiny_runs, monkeypatch):
    from calligram.clip.model import Clip

    monkeypatch.setattr(Clip, "encode_text", lambda self, text_BT: torch.ones(len(text_BT), 8))
    with pytest.raises(UserError, match="length"):
        load_models([tiny_runs.clip])
