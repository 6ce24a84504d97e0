"""What training DALL-E minimises.

# B batch, T text tokens, N image tokens
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from calligram.dalle.model import Dalle


class DalleLossConfig(BaseModel):
    """Weights of the two halves of the loss, and how often the caption is dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: Literal["both", "text", "image"] = Field(
        default="both",
        description="what is learnt: text and then its picture; text alone, as GPT; pictures alone behind the empty "
        "text, as image GPT. The weights fit each other, see --init",
    )
    text_weight: float = Field(default=1 / 8, ge=0, description="weight of the text tokens' loss (paper: 1/8)")
    image_weight: float = Field(default=7 / 8, ge=0, description="weight of the image tokens' loss (paper: 7/8)")
    drop_caption: float = Field(default=0.1, ge=0, le=1, description="share of captions dropped, for guidance")


class DalleTask(nn.Module):
    """Batch {"text", "image_tokens"} → weighted next-token cross-entropy of text and picture.

    Of text alone or pictures alone it is that one's cross-entropy, whatever its weight.
    ``mean`` averages a number over processes: a text token counts the same whichever of them, and of the parts of
    their batches, has it.
    """

    def __init__(self, model: Dalle, config: DalleLossConfig, mean: Callable[[Tensor], Tensor] = lambda x: x):
        super().__init__()
        self.mean = mean
        self.model = model
        self.config = config
        for name in _unused(model, config.tokens):  # which would break training by several processes
            model.get_parameter(name).requires_grad_(False)

    def prepare(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What must be known of a whole batch for the loss of a part: dropped captions, text tokens a sample."""
        text_BT = batch["text"]
        alone = self.config.tokens == "image"
        dropped_B = torch.full((len(text_BT),), alone, dtype=torch.bool, device=text_BT.device)
        if self.training and self.config.drop_caption and self.config.tokens == "both":
            dropped_B = torch.rand(len(text_BT), device=text_BT.device) < self.config.drop_caption
        counted_BT = ~self._ignored(text_BT, dropped_B)[:, 1:]
        tokens_B = self.mean(counted_BT.sum() / len(text_BT)).expand(len(text_BT))
        return {**batch, "dropped": dropped_B, "tokens_a_text": tokens_B}

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        batch = batch if "dropped" in batch else self.prepare(batch)
        text_BT, dropped_B = batch["text"], batch["dropped"]
        if self.config.tokens == "text":
            loss = self._text_loss(self.model.read_text(text_BT), text_BT, dropped_B, batch["tokens_a_text"])
            return loss, {"text_loss": loss.detach()}
        image_BN = batch["image_tokens"]
        inputs_BT = torch.where(dropped_B[:, None], self.model.drop_text(text_BT), text_BT)
        text_logits, image_logits = self.model(inputs_BT, image_BN)
        image_loss = F.cross_entropy(image_logits.flatten(0, 1).float(), image_BN.flatten())
        bits = image_loss.detach() / math.log(2)
        if self.config.tokens == "image":
            return image_loss, {"image_loss": image_loss.detach(), "bits_per_token": bits}
        text_loss = self._text_loss(text_logits, text_BT, dropped_B, batch["tokens_a_text"])
        loss = self.config.text_weight * text_loss + self.config.image_weight * image_loss
        return loss, {"text_loss": text_loss.detach(), "image_loss": image_loss.detach(), "bits_per_token": bits}

    def _text_loss(self, logits_BTV: Tensor, text_BT: Tensor, dropped_B: Tensor, tokens_B: Tensor) -> Tensor:
        targets = text_BT.masked_fill(self._ignored(text_BT, dropped_B), -100)[:, 1:]
        total = F.cross_entropy(logits_BTV.flatten(0, 1).float(), targets.flatten(), ignore_index=-100, reduction="sum")
        return total / tokens_B.sum().clamp(min=1)

    def _ignored(self, text_BT: Tensor, dropped_B: Tensor) -> Tensor:
        """Pads and dropped captions are nothing that was said: they do not count."""
        return self.model.padding(text_BT) | dropped_B[:, None]


def _unused(model: Dalle, tokens: str) -> list[str]:
    """Parameters that have no part in what is learnt."""
    parts = {
        "both": (),
        "text": (
            "pad",  # nothing is learnt behind a text's end
            "image_embed",
            "image_head",
            "image_bias",
            "above_gain",
            "outside",
            "row_positions",
            "column_positions",
        ),
        "image": ("text_head", "text_bias"),
    }[tokens]
    return [name for name, _ in model.named_parameters() if name.split(".")[0] in parts]
