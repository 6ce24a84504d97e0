"""Logits of the next tokens, guided: the texts are read once, and the empty text only where guidance is on.

# B pictures, T text tokens, M positions, N image tokens, V image vocabulary
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from calligram.dalle.sampling.guidance import guide


class Reader(Protocol):
    """What is asked of a model: a DALL-E, or a faster one that stands for it; each has a cache of its own kind."""

    text_length: int
    num_image_tokens: int
    grid: int

    def new_cache(self, batch: int) -> Any: ...
    def prefill(self, text_BT: Tensor, cache: Any) -> Tensor: ...
    def extend(self, image_BM: Tensor, cache: Any, first: int) -> Tensor: ...
    def drop_text(self, text_BT: Tensor) -> Tensor: ...


class Reading:
    """Pictures that are being drawn, as the model knows them: one row each, and one with the empty text for guidance.

    Both halves lie in one memory and are read in one batch while they are in step. Where guidance is off the empty
    texts' half is left behind; it reads all that it missed at once when guidance begins.
    """

    def __init__(self, model: Reader, text_BT: Tensor, scale_N: Tensor):
        guided = bool((scale_N != 1).any())
        self.model: Reader = model
        self.scale_N, self.num_pictures = scale_N, len(text_BT)
        self.first_logits, self.both = read_texts(model, text_BT, guided)
        self.texts = self.both.rows(0, self.num_pictures)
        self.empty = self.both.rows(self.num_pictures, 2 * self.num_pictures) if guided else None
        self.num_passes = 0

    def logits(self, tokens_BN: Tensor, first: int, last: int) -> Tensor:
        """Logits of the tokens at ``first`` … ``last`` − 1, given all before each of them: (B, M, V)."""
        self.num_passes += 1
        scale_M = self.scale_N[first:last]
        if self.empty is None or not bool((scale_M != 1).any()):
            return self._read(self.texts, self.first_logits[: self.num_pictures], tokens_BN, first, last)
        if self.empty.length == self.texts.length:
            self.both.length = self.texts.length
            logits = self._read(self.both, self.first_logits, tokens_BN.repeat(2, 1), first, last)
            self.texts.length = self.empty.length = self.both.length
            conditional, null = logits.chunk(2)
            return guide(conditional, null, scale_M)
        conditional = self._read(self.texts, self.first_logits[: self.num_pictures], tokens_BN, first, last)
        null = self._read(self.empty, self.first_logits[self.num_pictures :], tokens_BN, first, last)
        return guide(conditional, null, scale_M)

    def forget(self, num_known: int) -> None:
        """Take back what was read of image tokens from ``num_known`` on: they were guesses."""
        length = self.model.text_length + num_known
        for cache in (self.texts, self.empty):
            if cache is not None and cache.length > length:
                cache.truncate(length)

    def _read(self, cache: Any, first_logits: Tensor, tokens: Tensor, first: int, last: int) -> Tensor:
        num_read = cache.length - self.model.text_length
        parts = [first_logits[:, None]] if first == 0 else []
        if last - 1 > num_read:
            logits = self.model.extend(tokens[:, : last - 1], cache, num_read)
            parts.append(logits[:, max(first - 1 - num_read, 0) :])
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


def read_texts(model: Reader, text_BT: Tensor, guided: bool) -> tuple[Tensor, Any]:
    """Read distinct texts once, then give each picture (and its unguided twin) a copy: (B or 2B, V), a cache."""
    texts, row_of_B = torch.unique(text_BT, dim=0, return_inverse=True)
    if guided:
        row_of_B = torch.cat([row_of_B, torch.full_like(row_of_B, len(texts))])
        texts = torch.cat([texts, model.drop_text(texts[:1])])
    cache = model.new_cache(len(texts))
    logits = model.prefill(texts, cache)
    return logits[row_of_B], cache.select(row_of_B)
