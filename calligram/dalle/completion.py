"""Completing a picture: some of its tokens stay, the rest is drawn around them.

A token knows those before it in raster order. Where the top rows stay, all that is kept comes first, and drawing the
rest as it stands is exact. Where tokens behind a hole stay, each picture is chosen among several tries with a
probability that grows with p(what is kept | what was drawn): sampling and importance resampling (Rubin 1987), which
the more tries there are comes the nearer to drawing from the model on condition of all that stays.

# B pictures, K tries a picture, T text tokens, N image tokens, H W pixels, h w cells of the grid
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from calligram.dalle.likelihood import log_likelihood
from calligram.dalle.model import Dalle
from calligram.dalle.sampling import SamplingConfig, sample
from calligram.dalle.sampling.draw import Watch
from calligram.dalle.sampling.noise import draw_noise
from calligram.errors import UserError
from calligram.pictures import square, to_tensor

TRIES = 8  # a picture, where something is kept behind a hole
HALF = 128  # of 255: a mask's pixel from here on is white


@dataclass(frozen=True)
class Completion:
    """A picture's tokens, of which those of ``keep_N`` stay while the rest is drawn around them."""

    given_N: Tensor
    keep_N: Tensor
    tries: int = TRIES

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise UserError(f"{self.tries} tries a picture: give 1 or more")

    def draw(
        self, model: Dalle, text_BT: Tensor, seeds: Sequence[int], config: SamplingConfig, watch: Watch | None = None
    ) -> Tensor:
        """Image tokens (B, N). ``watch`` is that of :func:`calligram.dalle.sampling.sample`."""
        tries = 1 if looks_back_only(self.keep_N) else self.tries
        text_BKT = text_BT.repeat_interleave(tries, 0)
        try_seeds = [derived_seed(seed, number) for seed in seeds for number in range(tries)]
        given_BKN = self.given_N.to(text_BT.device).expand(len(text_BKT), -1)
        seen = None if watch is None or tries == 1 else lambda position, tokens: watch(position, tokens[::tries])
        tokens = sample(model, text_BKT, try_seeds, config, given=given_BKN, keep=self.keep_N, watch=seen or watch)
        if tries == 1:
            return tokens
        behind_N = self.keep_N & ((~self.keep_N).cumsum(0) > 0)
        log_p_BK = log_likelihood(model, text_BKT, tokens)[:, behind_N].double().sum(1).unflatten(0, (-1, tries))
        chosen_B = choose_try(log_p_BK.cpu(), seeds).to(tokens.device)
        return tokens.unflatten(0, (-1, tries))[torch.arange(len(seeds), device=tokens.device), chosen_B]


def choose_try(log_weight_BK: Tensor, seeds: Sequence[int]) -> Tensor:
    """One of K tries for each picture, in proportion to its weight: (B,)."""
    cumulative_BK = log_weight_BK.softmax(1).cumsum(1)
    noise_B1 = draw_noise([derived_seed(seed, -1) for seed in seeds], 1) * cumulative_BK[:, -1:]
    return torch.searchsorted(cumulative_BK, noise_B1, right=True)[:, 0].clamp(max=log_weight_BK.shape[1] - 1)


def derived_seed(seed: int, number: int) -> int:
    """A seed of its own for each of a picture's tries; the first one's is the picture's."""
    if number == 0:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed} {number}".encode(), digest_size=7).digest(), "big")


def keep_rows(rows: int, grid: int, image_size: int | None = None) -> Tensor:
    """True for the tokens of the upper rows, (N,). Raises UserError where a picture does not have so many."""
    if not 0 <= rows <= grid:
        pixels = f", {image_size // grid} pixels high each" if image_size else ""
        raise UserError(f"{rows} rows to keep: a picture has {grid} rows of tokens{pixels}; give 0 to {grid}")
    return torch.arange(grid * grid) < rows * grid


def keep_unmasked(anew_HW: Tensor, grid: int) -> Tensor:
    """True for the tokens in whose cell no pixel is to be drawn anew, (N,)."""
    height, width = anew_HW.shape
    if height % grid or width % grid:
        raise ValueError(f"a mask of {width} x {height} pixels does not divide into {grid} x {grid} cells")
    anew_hw = anew_HW.unflatten(1, (grid, -1)).unflatten(0, (grid, -1)).any(3).any(1)
    return ~anew_hw.flatten()


def read_mask(mask: Image.Image, picture: Image.Image, image_size: int) -> Tensor:
    """True where the picture is to be drawn anew, (H, W) of the model's size: white, or transparent where a mask is so.

    Raises UserError where mask and picture differ in size, since nothing tells how one lies on the other.
    """
    if mask.size != picture.size:
        raise UserError(
            f"the mask has {mask.width} x {mask.height} pixels and the picture {picture.width} x {picture.height}: "
            "give a mask as large as the picture"
        )
    if mask.has_transparency_data:
        opaque = mask.convert("RGBA").getchannel("A")
        return to_tensor(square(opaque.convert("RGB"), image_size))[0] < HALF
    return to_tensor(square(mask.convert("RGB"), image_size)).amax(0) >= HALF


def looks_back_only(keep_N: Tensor) -> bool:
    """Whether all that is kept comes before all that is drawn."""
    return not bool((keep_N[1:] & ~keep_N[:-1]).any())
