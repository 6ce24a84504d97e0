"""Draw image tokens from a DALL-E, one at a time.

# B pictures, T text tokens, N image tokens, V image vocabulary
"""

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from calligram.dalle.model import Dalle
from calligram.nn.cache import KVCache


class SamplingConfig(BaseModel):
    """How tokens are chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=1.0, gt=0, description="below 1: safer, above 1: wilder")
    top_k: int | None = Field(default=None, ge=1, description="keep only the k most likely image tokens")
    guidance: float = Field(default=1.0, ge=0, description="classifier-free guidance scale; 1 is none")


@torch.inference_mode()
def sample(model: Dalle, text_BT: Tensor, seeds: Sequence[int], config: SamplingConfig) -> Tensor:
    """Image tokens (B, N) for texts (B, T).

    Picture b depends on its text and ``seeds[b]`` alone, not on what else is in the batch. Each distinct
    text is read once, and so is the empty text that guidance contrasts with (arXiv 2207.12598).
    """
    if len(seeds) != len(text_BT) or not len(seeds):
        raise ValueError(f"{len(text_BT)} texts and {len(seeds)} seeds: give one seed for each text, one text at least")
    noise_BN = draw_noise(seeds, model.num_image_tokens).to(text_BT.device)
    return _draw(model, text_BT, noise_BN, config)


def draw_noise(seeds: Sequence[int], num_tokens: int) -> Tensor:
    """Uniform numbers in [0, 1), a row a picture, each row from a generator of its own: (B, N) in fp64."""
    rows = [torch.rand(num_tokens, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
    return torch.stack(rows)


def _draw(model: Dalle, text_BT: Tensor, noise_BN: Tensor, config: SamplingConfig) -> Tensor:
    guided = config.guidance != 1
    logits, cache = _prefill(model, text_BT, guided)
    tokens_BN = torch.empty(noise_BN.shape, dtype=torch.long, device=text_BT.device)
    for position in range(model.num_image_tokens):
        chosen = _guide(logits, config.guidance) if guided else logits
        tokens_BN[:, position] = choose(chosen, noise_BN[:, position], config)
        if position + 1 < model.num_image_tokens:
            known_BM = tokens_BN[:, : position + 1]
            logits = model.step(known_BM.repeat(2, 1) if guided else known_BM, cache)
    return tokens_BN


def _prefill(model: Dalle, text_BT: Tensor, guided: bool) -> tuple[Tensor, KVCache]:
    """Read each distinct text once, then give every picture (and its unguided twin) a copy."""
    texts, row_of_B = torch.unique(text_BT, dim=0, return_inverse=True)
    if guided:
        row_of_B = torch.cat([row_of_B, torch.full_like(row_of_B, len(texts))])
        texts = torch.cat([texts, model.drop_text(texts[:1])])
    cache = model.new_cache(len(texts))
    logits = model.prefill(texts, cache)
    return logits[row_of_B], cache.select(row_of_B)


def _guide(logits_2BV: Tensor, scale: float) -> Tensor:
    conditional, null = logits_2BV.chunk(2)
    return null + scale * (conditional - null)


def choose(logits_BV: Tensor, noise_B: Tensor, config: SamplingConfig) -> Tensor:
    """Tokens (B,) by inverting the distribution function at ``noise_B``, uniform in [0, 1)."""
    logits_BV = logits_BV.double() / config.temperature
    if config.top_k is not None and config.top_k < logits_BV.shape[1]:
        smallest_kept = logits_BV.topk(config.top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < smallest_kept, -torch.inf)
    cumulative_BV = logits_BV.softmax(-1).cumsum(-1)
    # scaled by the last value, which rounding may leave a little off 1
    threshold_B1 = noise_B[:, None] * cumulative_BV[:, -1:]
    return torch.searchsorted(cumulative_BV, threshold_B1, right=True).squeeze(1).clamp(max=logits_BV.shape[1] - 1)
