"""Our text Transformer (arXiv 2103.00020): text → vector.

# B batch, T tokens, D width
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from calligram.clip.towers.projection import Projection
from calligram.nn.mask import Mask
from calligram.nn.packed import Packing
from calligram.nn.shift import TokenShift
from calligram.nn.transformer import Read, Transformer, TransformerConfig, learned
from calligram.tokenizers.text import trim_to_longest


class TextTowerConfig(BaseModel):
    """Text Transformer, as CLIP's: causal, the output at the end token is the text's vector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["transformer"] = "transformer"
    context_length: int = Field(default=32, ge=3, description="tokens a text may have, start and end included")
    token_shift: int = Field(
        default=0, ge=0, description="how many of the tokens before it a text token takes in ahead of the first layer"
    )
    causal: bool = Field(default=True, description="whether a token sees only those before it; SigLIP's sees all")
    pool: Literal["end", "last", "class"] = Field(
        default="end",
        description="the text's vector: the output at its end token, at the last place, as SigLIP's, or at a class "
        "token behind all others, as CoCa's",
    )
    pad_id: int = Field(default=0, ge=0, description="with pool class, the token that stands for padding")
    projection: Projection = "linear"
    transformer: TransformerConfig = TransformerConfig()

    @model_validator(mode="after")
    def _no_token_looks_ahead(self) -> "TextTowerConfig":
        if self.token_shift and not self.causal:
            raise ValueError("token_shift takes in tokens before: leave it out where causal is false")
        if self.token_shift and self.pool == "class":
            raise ValueError("token_shift is not for pool class: leave it out")
        return self


class TextTower(nn.Module):
    """Token ids (B, T) → (B, D)."""

    def __init__(self, config: TextTowerConfig, vocab_size: int, end_id: int):
        super().__init__()
        self.config = config
        self.width = config.transformer.width
        self.end_id = end_id
        self.embed = nn.Embedding(vocab_size, self.width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.shift = TokenShift(self.width, config.token_shift) if config.token_shift else nn.Identity()
        own = int(config.pool == "class")
        self.class_token = learned(self.width, std=0.01) if own else None
        self.positions = learned(config.context_length + own, self.width, std=0.01)
        self.transformer = Transformer(config.transformer, causal=config.causal)

    def forward(self, text_BT: Tensor) -> Tensor:
        end_B = (text_BT == self.end_id).int().argmax(1)
        if not (self.config.causal and self.config.pool == "end"):
            return self._whole(text_BT, end_B)
        if torch.compiler.is_exporting():  # a graph that is written down has one shape for all texts
            return self._rows(text_BT, end_B)
        # The mask is causal and only the end token is read: what lies behind it cannot matter.
        packing = Packing.of(end_B + 1, causal=True)
        if packing.pays(self.width):
            return self._packed(text_BT, packing)
        return self._rows(trim_to_longest(text_BT, self.end_id), end_B)

    def _packed(self, text_BT: Tensor, packing: Packing) -> Tensor:
        """All texts in one row, which ends where their words do."""
        x_ND = self.embed(text_BT[packing.row_N, packing.position_N])
        if isinstance(self.shift, TokenShift):
            x_ND = self.shift(x_ND, packing.position_N)
        x_ND = x_ND + self.positions[packing.position_N]
        read = Read(packing.end_B, packing.one_query_each())
        return self.transformer(x_ND[None], mask=packing.mask, read=read)[0, packing.place_B]

    def _whole(self, text_BT: Tensor, end_B: Tensor) -> Tensor:
        """With the padding, which is read, too, so that it must be what training had. Raises ValueError."""
        if text_BT.shape[1] != self.config.context_length:
            raise ValueError(
                f"{text_BT.shape[1]} tokens: this tower reads texts padded to {self.config.context_length}"
            )
        return self._rows(text_BT, end_B) if self.class_token is None else self._class(text_BT, self.class_token)

    def _class(self, text_BT: Tensor, class_token: Tensor) -> Tensor:
        """The output at the class token (CoCa, arXiv 2205.01917), with the mask that open_clip's weights learnt with.

        It is one place off: what follows a padding token is hidden instead of the token itself. So the first of the
        padding is seen, and the class token does not see itself unless the text is full.
        """
        seen_BT = torch.cat([text_BT.new_ones(len(text_BT), 1, dtype=torch.bool), text_BT != self.config.pad_id], 1)
        own_BTD = class_token.expand(len(text_BT), 1, -1)
        x_BTD = torch.cat([self.embed(text_BT), own_BTD], 1) + self.positions
        return self.transformer(x_BTD, mask=Mask(self.config.causal, keys_BN=seen_BT))[:, -1]

    def _rows(self, text_BT: Tensor, end_B: Tensor) -> Tensor:
        """A row a text, all of one length."""
        x_BTD = self.transformer(self.shift(self.embed(text_BT)) + self.positions[: text_BT.shape[1]])
        if self.config.pool == "last":
            return x_BTD[:, -1]
        return x_BTD[torch.arange(x_BTD.shape[0], device=x_BTD.device), end_B]
