"""One Transformer over text tokens and then image tokens (arXiv 2102.12092).

# B batch, T text tokens, N image tokens, S = T + N − 1 inputs, M known image tokens, V vocabulary, D width
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calligram.dalle.config import DalleConfig
from calligram.dalle.sequence import PackedRows, right_aligned
from calligram.nn import rotary
from calligram.nn.cache import KVCache
from calligram.nn.decoder import build_decoder
from calligram.nn.llama import LlamaConfig
from calligram.nn.mask import Mask
from calligram.nn.picture_mask import PictureMask, kinds_of_layers
from calligram.nn.shift import TokenShift
from calligram.nn.transformer import learned

__all__ = ["ABOVE", "Dalle", "DalleConfig"]

ABOVE = (-1, 0, 1)  # columns of the row above whose tokens go into the prediction of the next


class Dalle(nn.Module):
    """p(text, picture) as a product over tokens: text first, then the picture in raster order.

    Text and picture have vocabularies of their own. Behind its end a text is filled with pads, one learned vector a
    position, as in the paper; or, where it is packed, the picture follows there.
    """

    def __init__(self, config: DalleConfig, text_vocab_size: int, image_vocab_size: int, grid: int, end_id: int):
        super().__init__()
        self.config = config
        self.grid, self.end_id, self.image_vocab_size = grid, end_id, image_vocab_size
        self.text_length, self.num_image_tokens = config.text_length, grid * grid
        self.packed, self.is_rotary = config.text == "packed", isinstance(config.transformer, LlamaConfig)
        width = config.transformer.width
        self.text_embed = nn.Embedding(text_vocab_size, width)
        self.image_embed = nn.Embedding(image_vocab_size, width)
        for table in (self.text_embed, self.image_embed):
            nn.init.normal_(table.weight, std=0.02)
        self.shift = TokenShift(width, config.token_shift) if config.token_shift else nn.Identity()
        self.above_gain = nn.Parameter(torch.full((len(ABOVE), width), 0.5)) if config.neighbours else None
        self.outside = learned(width) if config.neighbours else None
        self.pad = None if self.packed else learned(self.text_length, width)
        self.text_positions = None if self.is_rotary else learned(self.text_length, width)
        self.row_positions = None if self.is_rotary else learned(grid, 1, width)
        self.column_positions = None if self.is_rotary else learned(1, grid, width)
        self.transformer = build_decoder(config.transformer)
        own = config.heads == "own"
        self.text_head = learned(text_vocab_size, width) if own else None
        self.image_head = learned(image_vocab_size, width) if own else None
        # what goes with the rotary Transformer has no biases anywhere
        self.text_bias = None if self.is_rotary else nn.Parameter(torch.zeros(text_vocab_size))
        self.image_bias = None if self.is_rotary else nn.Parameter(torch.zeros(image_vocab_size))

    @property
    def device(self) -> torch.device:
        return self.image_embed.weight.device

    def forward(self, text_BT: Tensor, image_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Next-token logits under teacher forcing: (B, T − 1, V_text), (B, N, V_image)."""
        x_BTD, x_BND = self.embed_text(text_BT), self.embed_image(image_BN[:, :-1])
        x_BSD = torch.cat([x_BTD, x_BND], 1)
        if self.packed:
            rows = PackedRows.of(self.text_lengths(text_BT), self.text_length, x_BND.shape[1])
            hidden_1ND = self._run(rows.pack(x_BSD), rows.index_N, rows.num_text_N, lengths=rows.lengths)
            text_hidden, image_hidden = rows.unpack(hidden_1ND)
        else:
            hidden_BSD = self._run(x_BSD, torch.arange(x_BSD.shape[1], device=self.device), self.text_length)
            text_hidden, image_hidden = hidden_BSD[:, : self.text_length - 1], hidden_BSD[:, self.text_length - 1 :]
        return self._text_logits(text_hidden), self._image_logits(image_hidden)

    def read_text(self, text_BT: Tensor) -> Tensor:
        """Next-token logits of texts without a picture, (B, T − 1, V_text): the same as ``forward`` gives."""
        x_BTD = self.embed_text(text_BT[:, :-1])
        return self._text_logits(self._run(x_BTD, torch.arange(x_BTD.shape[1], device=self.device), self.text_length))

    def new_cache(self, batch: int) -> KVCache:
        """An empty cache with room for a text and a picture, whichever Transformer this is."""
        return self.transformer.new_cache(batch, self.text_length + self.num_image_tokens - 1)

    def prefill(self, text_BT: Tensor, cache: KVCache) -> Tensor:
        """Read a text into an empty cache; logits of the first image token, (B, V_image)."""
        x_BTD = self.embed_text(text_BT)
        if self.packed:
            cache.skip_B = self.text_length - self.text_lengths(text_BT)
            x_BTD = right_aligned(x_BTD, cache.skip_B)
        return self._image_logits(self._run_cached(x_BTD, cache)[:, -1])

    def step(self, image_BM: Tensor, cache: KVCache) -> Tensor:
        """Read the last of the M image tokens so far; logits of the one after it, (B, V_image)."""
        return self.extend(image_BM, cache, image_BM.shape[1] - 1)[:, -1]

    def extend(self, image_BM: Tensor, cache: KVCache, first: int) -> Tensor:
        """Read the image tokens from ``first`` on, of M known ones, into a cache that holds all before them.

        (B, M − first, V_image): row j is the logits of token first + j + 1.
        """
        if cache.length != self.text_length + first:
            raise ValueError(f"the cache holds {cache.length} tokens, not the {self.text_length + first} before these")
        return self._image_logits(self._run_cached(self.embed_image(image_BM, first), cache))

    def _run_cached(self, x_BMD: Tensor, cache: KVCache) -> Tensor:
        place_M = torch.arange(cache.length, cache.length + x_BMD.shape[1], device=self.device)
        if cache.skip_B is None:
            return self._run(x_BMD, place_M, self.text_length, cache=cache)
        skip_B1 = cache.skip_B[:, None]
        index_BM = (place_M - skip_B1).clamp(min=0)
        return self._run(x_BMD, index_BM, self.text_length - skip_B1, cache=cache, skip_B=cache.skip_B)

    def _run(
        self,
        x: Tensor,
        index: Tensor,
        num_text: Tensor | int,
        cache: KVCache | None = None,
        skip_B: Tensor | None = None,
        lengths: tuple[int, ...] | None = None,
    ) -> Tensor:
        """The Transformer over tokens of which ``index`` tells the place in their sequence."""
        rotation, transformer = None, self.config.transformer
        if isinstance(transformer, LlamaConfig):
            places = rotary.positions(index, num_text, self.grid, transformer.rotary)
            rotation = rotary.rotation(places, transformer.head_width, transformer.rotary_base)
        return self.transformer(x, cache, self._mask(skip_B, lengths), rotation)

    def _mask(self, skip_B: Tensor | None, lengths: tuple[int, ...] | None) -> Mask | PictureMask | None:
        transformer = self.config.transformer
        if transformer.attention == "full" and skip_B is None and lengths is None:
            return None  # the Transformer's own: causal
        kinds = kinds_of_layers(transformer.attention, transformer.num_layers)
        return PictureMask(
            kinds, self.text_length, self.grid, transformer.kernel, skip_B, lengths, self.num_image_tokens - 1
        )

    def embed_text(self, text_BT: Tensor) -> Tensor:
        """Ids (B, T), anything behind the end token → (B, T, D) with learned pads there, where there are any."""
        x_BTD = self.shift(self.text_embed(text_BT))
        if self.pad is not None:
            x_BTD = torch.where(self.padding(text_BT)[..., None], self.pad[: text_BT.shape[1]], x_BTD)
        return x_BTD if self.text_positions is None else x_BTD + self.text_positions[: text_BT.shape[1]]

    def embed_image(self, image_BM: Tensor, first: int = 0) -> Tensor:
        """The image tokens from ``first`` to M − 1 of M known ones → (B, M − first, D).

        Each comes with what stands above the token that is predicted from it: in raster order those lie a
        whole row back, and attention takes long to learn where to look.
        """
        x_BMD = self.image_embed(image_BM[:, first:])
        if self.above_gain is not None and self.outside is not None:
            index_MK = self._above_index(first, image_BM.shape[1])
            # no more than these are looked up: a step's work must not grow with the picture
            above_BMKD = self.image_embed(image_BM[:, index_MK])
            above_BMKD = torch.where((index_MK < 0)[..., None], self.outside, above_BMKD)
            x_BMD = x_BMD + (above_BMKD * self.above_gain).sum(2)
        if self.row_positions is None or self.column_positions is None:
            return x_BMD
        return x_BMD + (self.row_positions + self.column_positions).flatten(0, 1)[first : image_BM.shape[1]]

    def _above_index(self, first: int, last: int) -> Tensor:
        """Where the neighbours above the targets first + 1 … last lie: (M, K), −1 for outside the picture."""
        target_M1 = torch.arange(first + 1, last + 1, device=self.device)[:, None]
        row_M1, column_M1 = target_M1 // self.grid - 1, target_M1 % self.grid
        column_MK = column_M1 + torch.tensor(ABOVE, device=self.device)
        inside = (row_M1 >= 0) & (column_MK >= 0) & (column_MK < self.grid)
        return torch.where(inside, row_M1 * self.grid + column_MK, -1)

    def padding(self, text_BT: Tensor) -> Tensor:
        """True behind each text's end token."""
        is_end = text_BT == self.end_id
        return is_end.int().cumsum(1) - is_end.int() > 0

    def text_lengths(self, text_BT: Tensor) -> Tensor:
        """Tokens of each text with its start and end, (B,)."""
        return (~self.padding(text_BT)).sum(1)

    def drop_text(self, text_BT: Tensor) -> Tensor:
        """The texts with nothing between start and end: what guidance contrasts with (arXiv 2207.12598)."""
        empty = torch.full_like(text_BT, self.end_id)
        empty[:, 0] = text_BT[:, 0]
        return empty

    def _text_logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.text_embed.weight if self.text_head is None else self.text_head, self.text_bias)

    def _image_logits(self, hidden: Tensor) -> Tensor:
        # Unless told otherwise the table of embeddings is the head, too (arXiv 1608.05859): most patches of a picture
        # repeat a neighbour, and then handing on its embedding is all there is to learn.
        table = self.image_embed.weight if self.image_head is None else self.image_head
        return F.linear(hidden, table, self.image_bias)
