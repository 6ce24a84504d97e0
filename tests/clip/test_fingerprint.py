"""A model's fingerprint changes with the model, and not with a version of ours that knows more fields."""

from types import SimpleNamespace
from typing import Any

import torch

from calligram.clip.fingerprint import model_fingerprint, text_fingerprint
from calligram.clip.model import Clip, ClipConfig
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.nn.transformer import TransformerConfig

SMALL = TransformerConfig(width=16, num_layers=1, num_heads=2)
WORDS: Any = SimpleNamespace(fingerprint="words")  # a real one's depends on the version of a library
TEXT = TextTowerConfig(context_length=8, transformer=SMALL)


def zeros(**image) -> Clip:
    config = ClipConfig(image_size=16, embed_dim=8, image=ViTConfig(patch=8, transformer=SMALL, **image), text=TEXT)
    model = Clip(config, 50, 2)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    return model


def test_it_is_what_it_was_when_there_were_fewer_fields():
    """Indexes and label vectors that were kept then are still found: these digits were computed before."""
    assert model_fingerprint(zeros(), WORDS) == "5318f065eea03283ec054df3632ab363"
    assert text_fingerprint(zeros(), WORDS) == "df4f84c4fe02c2891d796cff3aa4fc95"


def test_what_a_new_field_says_is_told_apart():
    found = {
        model_fingerprint(zeros(**image), WORDS)
        for image in (
            {},
            {"norm_after_pool": True},
            {"pool": "query", "pool_width": 8, "pool_heads": 2},
            {"pool": "query", "pool_width": 8, "pool_heads": 4},
        )
    }
    assert len(found) == 4
