"""Draw image tokens from a DALL-E: pure functions of a model, texts and seeds."""

from calligram.dalle.sampling.config import SamplingConfig
from calligram.dalle.sampling.draw import sample

__all__ = ["SamplingConfig", "sample"]
