"""The sampler: tokens one after the other, or several at once and corrected.

# B pictures, T text tokens, N image tokens
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from calligram.dalle.model import Dalle
from calligram.dalle.sampling.config import SamplingConfig
from calligram.dalle.sampling.given import given_tokens
from calligram.dalle.sampling.guidance import scales
from calligram.dalle.sampling.jacobi import draw_jacobi
from calligram.dalle.sampling.noise import draw_noise
from calligram.dalle.sampling.one_by_one import draw_plain
from calligram.dalle.sampling.prepare import prepared
from calligram.dalle.sampling.reading import Reading

Watch = Callable[[int, Tensor], None]


@torch.inference_mode()
def sample(
    model: Dalle,
    text_BT: Tensor,
    seeds: Sequence[int],
    config: SamplingConfig,
    *,
    given: Tensor | None = None,
    keep: Tensor | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Image tokens (B, N) for texts (B, T).

    Picture b depends on its text and ``seeds[b]`` alone, not on what else is in the batch. Each distinct
    text is read once, and so is the empty text that guidance contrasts with (arXiv 2207.12598).

    ``given`` (B, N) and ``keep``, a boolean mask (B, N) or (N,), fix tokens: they are taken as they are and the rest
    is drawn around them in raster order; a token knows the fixed ones before it, not those behind.
    ``watch(position, tokens_BN)`` is called with a copy of the tokens whenever more are final, those before
    ``position``; behind it stand kept tokens, guesses or zeros.
    """
    if len(seeds) != len(text_BT) or not len(seeds):
        raise ValueError(f"{len(text_BT)} texts and {len(seeds)} seeds: give one seed for each text, one text at least")
    shape = (len(text_BT), model.num_image_tokens)
    tokens_BN, keep_BN = given_tokens(given, keep, shape, model.image_vocab_size, text_BT.device)
    noise_BN = draw_noise(seeds, model.num_image_tokens).to(text_BT.device)
    reading = Reading(prepared(model, config), text_BT, scales(config, model.num_image_tokens))
    draw = draw_jacobi if config.decoding == "jacobi" else draw_plain
    for known in draw(reading, tokens_BN, keep_BN, noise_BN, config):
        if watch is not None:
            watch(known, tokens_BN.clone())
    return tokens_BN
