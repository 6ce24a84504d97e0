"""Sentences → image tokens → pictures, many at once: what generating, completing and varying have in common.

# B pictures, T text tokens, N image tokens
"""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from calligram.dalle.completion import TRIES, Completion, keep_rows, keep_unmasked, read_mask
from calligram.dalle.likelihood import log_likelihood
from calligram.dalle.model import Dalle
from calligram.dalle.preview import HalfDrawn, WatchPictures
from calligram.dalle.sampling import SamplingConfig, sample
from calligram.dalle.sampling.draw import Watch
from calligram.dalle.variation import STRENGTH, Variation
from calligram.errors import UserError
from calligram.nn.image import stack_images, to_uint8
from calligram.pictures import shrink_exactly, to_image, upright
from calligram.tokenizers.image import ImageTokenizer
from calligram.tokenizers.text import TextTokenizer

Basis = Completion | Variation


class Drawer:
    """A trained DALL-E with both of its tokenizers."""

    def __init__(
        self,
        model: Dalle,
        text_tokenizer: TextTokenizer,
        image_tokenizer: ImageTokenizer,
        sampling: SamplingConfig | None = None,
        batch_size: int = 256,
    ):
        self.model, self.text_tokenizer, self.image_tokenizer = model.eval(), text_tokenizer, image_tokenizer.eval()
        self.sampling = sampling or SamplingConfig()
        self.batch_size = batch_size

    @property
    def device(self) -> torch.device:
        return self.model.device

    def draw(self, prompts: Sequence[str], seeds: Sequence[int], sampling: SamplingConfig | None = None) -> Tensor:
        """One picture for each prompt and seed, uint8 (B, 3, H, W). Raises UserError for a prompt that is too long."""
        return self.decode(self.draw_tokens(prompts, seeds, sampling))

    def draw_tokens(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampling: SamplingConfig | None = None,
        basis: Basis | None = None,
        watch: WatchPictures | None = None,
    ) -> Tensor:
        """The image tokens (B, N) of one picture for each prompt and seed, from nothing or from a ``basis``."""
        if len(prompts) != len(seeds) or not prompts:
            raise UserError(
                f"{len(prompts)} prompts and {len(seeds)} seeds: give one seed for each, one prompt at least"
            )
        text_BT = self.text_tokenizer(list(prompts), strict=True).to(self.device)
        draw = sample if basis is None else basis.draw
        parts = []
        for start in range(0, len(prompts), self.batch_size):
            chunk = slice(start, start + self.batch_size)
            seen = None if watch is None else self._watched(watch, start, basis)
            parts.append(draw(self.model, text_BT[chunk], seeds[chunk], sampling or self.sampling, watch=seen))
        return torch.cat(parts)

    def decode(self, tokens_BN: Tensor) -> Tensor:
        """Image tokens → pictures, uint8 (B, 3, H, W)."""
        parts = tokens_BN.split(self.batch_size)
        return torch.cat([to_uint8(self.image_tokenizer.decode(part)) for part in parts])

    def images(self, tokens_BN: Tensor) -> list[Image.Image]:
        """Image tokens → pictures."""
        return [to_image(x) for x in self.decode(tokens_BN).cpu()]

    def score(self, tokens_BN: Tensor, prompts: Sequence[str]) -> Tensor:
        """As :meth:`log_likelihood`, of image tokens."""
        text_BT = self.text_tokenizer(list(prompts), strict=True).to(self.device)
        return log_likelihood(self.model, text_BT, tokens_BN).sum(1)

    def completion(
        self,
        image: Image.Image,
        rows: int | None = None,
        mask: Image.Image | Tensor | None = None,
        tries: int = TRIES,
    ) -> Completion:
        """What :meth:`complete` starts from, for :meth:`draw_tokens`."""
        if (rows is None) == (mask is None):
            raise UserError("a completion keeps either rows or what a mask leaves: give one of them")
        grid, size = self.image_tokenizer.grid, self.image_tokenizer.config.image_size
        if mask is None:
            keep_N = keep_rows(rows or 0, grid, size)
        else:
            keep_N = keep_unmasked(mask if isinstance(mask, Tensor) else read_mask(mask, image, size), grid)
        return Completion(self.encode([image])[0], keep_N, tries)

    def variation(self, image: Image.Image, strength: float = STRENGTH, source_prompt: str | None = None) -> Variation:
        """What :meth:`variations` starts from, for :meth:`draw_tokens`."""
        source_T = None if source_prompt is None else self.text_tokenizer([source_prompt], strict=True)[0]
        return Variation(self.encode([image])[0], strength, source_T)

    @torch.inference_mode()
    def encode(self, images: Tensor | Sequence[Image.Image]) -> Tensor:
        """Pictures of any size, or uint8 (B, 3, S, S) → image tokens (B, N).

        One that was saved with each pixel repeated is read as it was drawn, another as in training.
        """
        size = self.image_tokenizer.config.image_size
        if not isinstance(images, Tensor):
            opaque = [upright(image) for image in images]
            images = stack_images([shrink_exactly(image, size) or image for image in opaque], size)
        parts = stack_images(images, size).split(self.batch_size)
        return torch.cat([self.image_tokenizer.encode(part.to(self.device)) for part in parts])

    def _watched(self, watch: WatchPictures, first: int, basis: Basis | None) -> Watch:
        num_tokens = self.model.num_image_tokens
        kept_N = basis.keep_N if isinstance(basis, Completion) else torch.zeros(num_tokens, dtype=torch.bool)

        def call(position: int, tokens_BN: Tensor) -> None:
            known_N = kept_N.cpu() | (torch.arange(num_tokens) < position)
            watch(HalfDrawn(tokens_BN, known_N, self.image_tokenizer, first))

        return call
