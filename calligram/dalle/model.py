"""One Transformer over text tokens and then image tokens (arXiv 2102.12092).

# B batch, T text tokens, N image tokens, S = T + N − 1 inputs, V vocabulary, D width
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from calligram.nn.cache import KVCache
from calligram.nn.transformer import Transformer, TransformerConfig, learned


class DalleConfig(BaseModel):
    """A DALL-E decoder; the sizes of vocabularies and grid come from the two tokenizers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["dalle"] = "dalle"
    text_length: int = Field(default=24, ge=3, description="text tokens of the sequence, start and end included")
    transformer: TransformerConfig = TransformerConfig()


class Dalle(nn.Module):
    """p(text, picture) as a product over tokens: text first, then the picture in raster order.

    Text and picture have vocabularies and output heads of their own. Behind its end a text is filled
    with pads, one learned vector a position, as in the paper.
    """

    def __init__(self, config: DalleConfig, text_vocab_size: int, image_vocab_size: int, grid: int, end_id: int):
        super().__init__()
        self.config = config
        self.grid, self.end_id = grid, end_id
        self.text_length, self.num_image_tokens = config.text_length, grid * grid
        width = config.transformer.width
        self.text_embed = nn.Embedding(text_vocab_size, width)
        self.image_embed = nn.Embedding(image_vocab_size, width)
        nn.init.normal_(self.text_embed.weight, std=0.02)
        nn.init.normal_(self.image_embed.weight, std=0.02)
        self.pad = learned(self.text_length, width)
        self.text_positions = learned(self.text_length, width)
        self.row_positions = learned(grid, 1, width)
        self.column_positions = learned(1, grid, width)
        self.transformer = Transformer(config.transformer, causal=True)
        self.text_head = nn.Linear(width, text_vocab_size)
        self.image_head = nn.Linear(width, image_vocab_size)
        for head in (self.text_head, self.image_head):
            nn.init.normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)

    def forward(self, text_BT: Tensor, image_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Next-token logits under teacher forcing: (B, T − 1, V_text), (B, N, V_image)."""
        x_BTD = self.embed_text(text_BT)
        x_BND = self.embed_image(image_BN[:, :-1])
        hidden_BSD = self.transformer(torch.cat([x_BTD, x_BND], 1))
        text_hidden, image_hidden = hidden_BSD[:, : self.text_length - 1], hidden_BSD[:, self.text_length - 1 :]
        return self.text_head(text_hidden), self.image_head(image_hidden)

    def prefill(self, text_BT: Tensor, cache: KVCache) -> Tensor:
        """Read a text into an empty cache; logits of the first image token, (B, V_image)."""
        return self.image_head(self.transformer(self.embed_text(text_BT), cache)[:, -1])

    def step(self, token_B: Tensor, position: int, cache: KVCache) -> Tensor:
        """Read the image token at ``position``; logits of the one after it, (B, V_image)."""
        x_B1D = self.image_embed(token_B)[:, None] + self._image_positions()[position]
        return self.image_head(self.transformer(x_B1D, cache)[:, -1])

    def embed_text(self, text_BT: Tensor) -> Tensor:
        """Ids (B, T), anything behind the end token → (B, T, D) with learned pads there."""
        x_BTD = torch.where(self.padding(text_BT)[..., None], self.pad, self.text_embed(text_BT))
        return x_BTD + self.text_positions

    def embed_image(self, image_BM: Tensor) -> Tensor:
        """The first M image tokens (B, M) → (B, M, D)."""
        return self.image_embed(image_BM) + self._image_positions()[: image_BM.shape[1]]

    def padding(self, text_BT: Tensor) -> Tensor:
        """True behind each text's end token; everywhere behind the start of an emptied text."""
        is_end = text_BT == self.end_id
        return is_end.int().cumsum(1) - is_end.int() > 0

    def drop_text(self, text_BT: Tensor) -> Tensor:
        """The texts with nothing between start and end: what guidance contrasts with (arXiv 2207.12598)."""
        empty = torch.full_like(text_BT, self.end_id)
        empty[:, 0] = text_BT[:, 0]
        return empty

    def _image_positions(self) -> Tensor:
        return (self.row_positions + self.column_positions).flatten(0, 1)
