"""One Transformer over text tokens and then image tokens (arXiv 2102.12092).

# B batch, T text tokens, N image tokens, S = T + N − 1 inputs, V vocabulary, D width
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from calligram.nn.cache import KVCache
from calligram.nn.shift import TokenShift
from calligram.nn.transformer import Transformer, TransformerConfig, learned

ABOVE = (-1, 0, 1)  # columns of the row above whose tokens go into the prediction of the next


class DalleConfig(BaseModel):
    """A DALL-E decoder; the sizes of vocabularies and grid come from the two tokenizers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["dalle"] = "dalle"
    text_length: int = Field(default=24, ge=3, description="text tokens of the sequence, start and end included")
    token_shift: int = Field(
        default=0, ge=0, description="how many of the tokens before it a text token takes in ahead of the first layer"
    )
    transformer: TransformerConfig = TransformerConfig()


class Dalle(nn.Module):
    """p(text, picture) as a product over tokens: text first, then the picture in raster order.

    Text and picture have vocabularies of their own. Behind its end a text is filled
    with pads, one learned vector a position, as in the paper.
    """

    def __init__(self, config: DalleConfig, text_vocab_size: int, image_vocab_size: int, grid: int, end_id: int):
        super().__init__()
        self.config = config
        self.grid, self.end_id, self.image_vocab_size = grid, end_id, image_vocab_size
        self.text_length, self.num_image_tokens = config.text_length, grid * grid
        width = config.transformer.width
        self.text_embed = nn.Embedding(text_vocab_size, width)
        self.image_embed = nn.Embedding(image_vocab_size, width)
        for table in (self.text_embed, self.image_embed):
            nn.init.normal_(table.weight, std=0.02)
        self.shift = TokenShift(width, config.token_shift) if config.token_shift else nn.Identity()
        self.above_gain = nn.Parameter(torch.full((len(ABOVE), width), 0.5))
        self.outside = learned(width)
        self.pad = learned(self.text_length, width)
        self.text_positions = learned(self.text_length, width)
        self.row_positions = learned(grid, 1, width)
        self.column_positions = learned(1, grid, width)
        self.transformer = Transformer(config.transformer, causal=True)
        self.text_bias = nn.Parameter(torch.zeros(text_vocab_size))
        self.image_bias = nn.Parameter(torch.zeros(image_vocab_size))

    def forward(self, text_BT: Tensor, image_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Next-token logits under teacher forcing: (B, T − 1, V_text), (B, N, V_image)."""
        x_BTD = self.embed_text(text_BT)
        x_BND = self.embed_image(image_BN[:, :-1])
        hidden_BSD = self.transformer(torch.cat([x_BTD, x_BND], 1))
        text_hidden, image_hidden = hidden_BSD[:, : self.text_length - 1], hidden_BSD[:, self.text_length - 1 :]
        return F.linear(text_hidden, self.text_embed.weight, self.text_bias), self._image_logits(image_hidden)

    def prefill(self, text_BT: Tensor, cache: KVCache) -> Tensor:
        """Read a text into an empty cache; logits of the first image token, (B, V_image)."""
        return self._image_logits(self.transformer(self.embed_text(text_BT), cache)[:, -1])

    def step(self, image_BM: Tensor, cache: KVCache) -> Tensor:
        """Read the last of the M image tokens so far; logits of the one after it, (B, V_image)."""
        x_B1D = self.embed_image(image_BM, first=image_BM.shape[1] - 1)
        return self._image_logits(self.transformer(x_B1D, cache)[:, -1])

    def embed_text(self, text_BT: Tensor) -> Tensor:
        """Ids (B, T), anything behind the end token → (B, T, D) with learned pads there."""
        x_BTD = torch.where(self.padding(text_BT)[..., None], self.pad, self.shift(self.text_embed(text_BT)))
        return x_BTD + self.text_positions

    def embed_image(self, image_BM: Tensor, first: int = 0) -> Tensor:
        """The image tokens from ``first`` to M − 1 of M known ones → (B, M − first, D).

        Each comes with what stands above the token that is predicted from it: in raster order those lie a
        whole row back, and attention takes long to learn where to look.
        """
        known_BMD = self.image_embed(image_BM)
        index_MK = self._above_index(first, image_BM.shape[1])
        above_BMKD = torch.where((index_MK < 0)[..., None], self.outside, known_BMD[:, index_MK])
        x_BMD = known_BMD[:, first:] + (above_BMKD * self.above_gain).sum(2)
        return x_BMD + self._image_positions()[first : image_BM.shape[1]]

    def _above_index(self, first: int, last: int) -> Tensor:
        """Where the neighbours above the targets first + 1 … last lie: (M, K), −1 for outside the picture."""
        target_M1 = torch.arange(first + 1, last + 1, device=self.pad.device)[:, None]
        row_M1, column_M1 = target_M1 // self.grid - 1, target_M1 % self.grid
        column_MK = column_M1 + torch.tensor(ABOVE, device=self.pad.device)
        inside = (row_M1 >= 0) & (column_MK >= 0) & (column_MK < self.grid)
        return torch.where(inside, row_M1 * self.grid + column_MK, -1)

    def padding(self, text_BT: Tensor) -> Tensor:
        """True behind each text's end token."""
        is_end = text_BT == self.end_id
        return is_end.int().cumsum(1) - is_end.int() > 0

    def drop_text(self, text_BT: Tensor) -> Tensor:
        """The texts with nothing between start and end: what guidance contrasts with (arXiv 2207.12598)."""
        empty = torch.full_like(text_BT, self.end_id)
        empty[:, 0] = text_BT[:, 0]
        return empty

    def _image_logits(self, hidden: Tensor) -> Tensor:
        # The table of embeddings is the head, too (arXiv 1608.05859): most patches of a picture repeat a
        # neighbour, and then handing on its embedding is all there is to learn.
        return F.linear(hidden, self.image_embed.weight, self.image_bias)

    def _image_positions(self) -> Tensor:
        return (self.row_positions + self.column_positions).flatten(0, 1)
