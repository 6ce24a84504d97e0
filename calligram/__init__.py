"""Multimodal text-image models, contrastive (CLIP) and generative (DALL-E), on one set of WebDataset shards."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calligram.clip.zero_shot import load_clip
    from calligram.dalle.draw import load_dalle
    from calligram.tokenizers.run import load_tokenizer

__version__ = "0.1.0"
__all__ = ["load_clip", "load_dalle", "load_tokenizer"]

_HOMES = {
    "load_clip": "calligram.clip.zero_shot",
    "load_dalle": "calligram.dalle.draw",
    "load_tokenizer": "calligram.tokenizers.run",
}


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import: only who loads a model waits for it
    if name not in _HOMES:
        raise AttributeError(f"module 'calligram' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
