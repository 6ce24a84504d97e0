"""A DALL-E whose passes are one call of C each: what draws fast on a CPU.

# B batch, T text tokens, M known image tokens, N image tokens, D width, V image vocabulary, S places, K head width
"""

import torch
from torch import Tensor

from calligram.dalle.model import Dalle
from calligram.dalle.sequence import right_aligned
from calligram.nn import rotary
from calligram.nn.llama import LlamaConfig
from calligram.nn.native.build import library
from calligram.nn.native.cache import BlockCache
from calligram.nn.native.decoder import NativeDecoder
from calligram.nn.native.weights import Precision, misfit
from calligram.nn.picture_mask import PictureMask, kinds_of_layers


def misfit_of(model: Dalle) -> str | None:
    """Why there is no fast step for a model here, or None where there is."""
    return misfit(model.transformer) or (None if library() else "it could not be compiled")


class FastDalle:
    """What the sampler asks of a model (``sampling.reading.Reader``), of the weights as they are when this is made."""

    def __init__(self, model: Dalle, precision: Precision = "fp32"):
        self.model = model
        self.text_length, self.num_image_tokens, self.grid = model.text_length, model.num_image_tokens, model.grid
        self.num_places = model.text_length + model.num_image_tokens - 1
        head = model.image_embed.weight if model.image_head is None else model.image_head
        self.decoder = NativeDecoder(model.transformer, head, model.image_bias, self._sees(), precision)

    def drop_text(self, text_BT: Tensor) -> Tensor:
        return self.model.drop_text(text_BT)

    def new_cache(self, batch: int) -> BlockCache:
        return self.decoder.new_cache(batch, self.num_places)

    def prefill(self, text_BT: Tensor, cache: BlockCache) -> Tensor:
        """Read texts into an empty cache; logits of the first image token, (B, V)."""
        x_BTD = self.model.embed_text(text_BT)
        if self.model.packed:
            cache.skip_B = self.text_length - self.model.text_lengths(text_BT)
            x_BTD = right_aligned(x_BTD, cache.skip_B)
        cache.rotation = self._rotation(cache.skip_B)
        return self.decoder.read(x_BTD, cache, last_only=True)[:, -1]

    def extend(self, image_BM: Tensor, cache: BlockCache, first: int) -> Tensor:
        """Read the image tokens from ``first`` on; logits (B, M − first, V) of those after each."""
        if cache.length != self.text_length + first:
            raise ValueError(f"the cache holds {cache.length} tokens, not the {self.text_length + first} before these")
        return self.decoder.read(self.model.embed_image(image_BM, first), cache)

    def _rotation(self, skip_B: Tensor | None) -> Tensor | None:
        """How much every place turns, once for all passes: (1 or B, S, K / 2, 2)."""
        config = self.model.config.transformer
        if not isinstance(config, LlamaConfig):
            return None
        place_S = torch.arange(self.num_places)[None]
        index, num_text = place_S, self.text_length
        if skip_B is not None:
            index, num_text = (place_S - skip_B[:, None]).clamp(min=0), self.text_length - skip_B[:, None]
        places = rotary.positions(index, num_text, self.grid, config.rotary)
        return rotary.rotation(places, config.head_width, config.rotary_base).contiguous()

    def _sees(self) -> list[Tensor | None]:
        config = self.model.config.transformer
        kinds = kinds_of_layers(config.attention, config.num_layers)
        mask = PictureMask(kinds, self.text_length, self.grid, config.kernel)
        return [
            None if kind == "full" else mask.of_layer(layer).matrix(self.num_places, self.num_places)
            for layer, kind in enumerate(kinds)
        ]
