"""Variations of a picture: as much of it as the model lets stand, around tokens that are drawn afresh.

A share of the tokens is drawn anew. Every other one stays with the probability min(1, p / q), where q is what the model
gave it in the picture as it was and p what it gives it after the tokens that have changed; else one is drawn from what
p has over q. No rule lets more tokens stand and still draws from p (a maximal coupling; speculative decoding accepts
its guesses in this way, arXiv 2211.17192). So a variation of a picture that the model drew is again an exact sample of
the model, whatever the share.

# B pictures, T text tokens, N image tokens, V image vocabulary, U distinct texts
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calligram.dalle.model import Dalle
from calligram.dalle.sampling import SamplingConfig
from calligram.dalle.sampling.draw import Watch
from calligram.dalle.sampling.filters import choose, probabilities
from calligram.dalle.sampling.guidance import scales
from calligram.dalle.sampling.prepare import prepared
from calligram.dalle.sampling.reading import Reader, Reading
from calligram.errors import UserError

STRENGTH = 0.2
AS_IT_IS = SamplingConfig()  # what has been through temperature and filters already goes through no others


@dataclass(frozen=True)
class Variation:
    """A picture's tokens, and what share of them is drawn afresh: 0 gives it back, 1 is a new drawing of the text.

    ``source_T`` is a text of what the picture shows, where something else is to be drawn of it: what both texts agree
    on stays.
    """

    original_N: Tensor
    strength: float
    source_T: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UserError(f"strength {self.strength} is no share of a picture: give 0 (the same) to 1 (all new)")

    @torch.inference_mode()
    def draw(
        self, model: Dalle, text_BT: Tensor, seeds: Sequence[int], config: SamplingConfig, watch: Watch | None = None
    ) -> Tensor:
        """Image tokens (B, N), one after the other. ``watch`` is that of :func:`calligram.dalle.sampling.sample`."""
        source_BT = text_BT if self.source_T is None else self.source_T.to(text_BT.device).expand_as(text_BT)
        original_N = self.original_N.to(text_BT.device)
        fresh_BN, stays_BN, noise_BN = (x.to(text_BT.device) for x in _draw_noise(seeds, model.num_image_tokens))
        reader = prepared(model, config)
        source_UNV, row_of_B = _source(reader, source_BT, original_N, config)
        reading = Reading(reader, text_BT, scales(config, model.num_image_tokens))
        tokens_BN = torch.zeros(fresh_BN.shape, dtype=torch.long, device=text_BT.device)
        same_B = (text_BT == source_BT).all(1)
        for position, old in enumerate(original_N):
            p_BV = probabilities(reading.logits(tokens_BN, position, position + 1)[:, -1], config)
            q_BV = source_UNV[row_of_B, position].double()
            is_fresh_B = fresh_BN[:, position] < self.strength
            # as long as nothing has changed p is q, whatever rounding makes of it
            stays_B = ~is_fresh_B & (same_B | (stays_BN[:, position] < _ratio(p_BV[:, old], q_BV[:, old])))
            new_BV = torch.where(is_fresh_B[:, None], p_BV, _excess(p_BV, q_BV))
            new_B = choose(new_BV.log(), noise_BN[:, position], AS_IT_IS)
            tokens_BN[:, position] = torch.where(stays_B, old, new_B)
            same_B = same_B & (tokens_BN[:, position] == old)
            if watch is not None:
                watch(position + 1, tokens_BN.clone())
        return tokens_BN


def _draw_noise(seeds: Sequence[int], num_tokens: int) -> Tensor:
    """Three uniform numbers for each token, from a generator a picture: (3, B, N) in fp64."""
    rows = [torch.rand(3, num_tokens, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
    return torch.stack(rows, 1)


def _source(reader: Reader, text_BT: Tensor, original_N: Tensor, config: SamplingConfig) -> tuple[Tensor, Tensor]:
    """What the original was drawn from under each of U texts, (U, N, V) fp32, and which of them a row has, (B,)."""
    texts, row_of_B = torch.unique(text_BT, dim=0, return_inverse=True)
    scale_N = scales(config, len(original_N))
    logits = [Reading(reader, text_T[None], scale_N).logits(original_N[None], 0, len(original_N)) for text_T in texts]
    return torch.cat([probabilities(each, config).float() for each in logits]), row_of_B


def _ratio(p_B: Tensor, q_B: Tensor) -> Tensor:
    """Of the old token. One that the filters would never have drawn stays: somebody wants it there."""
    return torch.where(q_B > 0, p_B / q_B, 1.0)


def _excess(p_BV: Tensor, q_BV: Tensor) -> Tensor:
    """What p has over q; p itself where rounding leaves nothing of it."""
    excess_BV = (p_BV - q_BV).clamp(min=0)
    return torch.where(excess_BV.sum(1, keepdim=True) > 0, excess_BV, p_BV)
