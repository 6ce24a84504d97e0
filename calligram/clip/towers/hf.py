"""Any text model of Hugging Face's transformers as a text tower.

# B batch, T tokens, D width
"""

import json
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from calligram.clip.towers.projection import Projection
from calligram.errors import UserError
from calligram.tokenizers.text import trim_to_longest

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class HFTextConfig(BaseModel):
    """A text model of Hugging Face, with its own vocabulary: ``--text-tokenizer.type hf`` of the same name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["hf"] = "hf"
    name: str = Field(description="name on the hub, or a folder, with the config.json of a model")
    pretrained: bool = Field(default=False, description="begin with its weights; else with random ones")
    context_length: int = Field(default=64, ge=3, description="tokens a text may have, start and end included")
    pool: Literal["mean", "first", "last", "pooler"] = Field(
        default="mean",
        description="the text's vector: the mean of its tokens, its first (BERT's CLS), its last one, or what the "
        "model's own pooler makes of the first",
    )
    projection: Projection = "linear"
    model: str = Field(default="", description="the model's own config as JSON; filled in when a run starts")

    def resolved(self) -> "HFTextConfig":
        """With the model's own config inside, so that ``name`` is not needed again."""
        if self.model:
            return self
        from transformers import AutoConfig

        try:
            found = AutoConfig.from_pretrained(self.name, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise UserError(f"no text model {self.name!r}: {_first_line(error)}") from None
        return self.model_copy(update={"model": json.dumps(found.to_dict(), sort_keys=True)})


class HFTextTower(nn.Module):
    """Token ids (B, T), each text ended by ``end_id`` → (B, D)."""

    def __init__(self, config: HFTextConfig, vocab_size: int, end_id: int):
        super().__init__()
        self.config = config
        self.end_id = end_id
        theirs = their_config(config)
        if vocab_size > theirs.vocab_size:
            raise UserError(f"{config.name} knows {theirs.vocab_size} tokens, but the text tokenizer has {vocab_size}")
        model = self._build(config, theirs)
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        has_pooler = getattr(model, "pooler", None) is not None
        if config.pool == "pooler" and not has_pooler:
            raise UserError(f"{config.name} has no pooler of its own: take the first token, or another pool")
        if has_pooler and config.pool != "pooler":
            model.pooler = None  # never read here, so it would have no gradient
        self.model: nn.Module = model
        self.width: int = theirs.hidden_size

    def _build(self, config: HFTextConfig, theirs: "PretrainedConfig") -> Any:
        from transformers import AutoModel

        if not config.pretrained:
            return AutoModel.from_config(theirs, trust_remote_code=False)
        try:
            return AutoModel.from_pretrained(
                config.name, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            raise UserError(f"no safetensors weights of {config.name!r}: {_first_line(error)}") from None

    def forward(self, text_BT: Tensor) -> Tensor:
        text_BT = trim_to_longest(text_BT, self.end_id)  # what lies behind is masked
        last_B1 = _last_token(text_BT, self.end_id)[:, None]
        mask_BT = torch.arange(text_BT.shape[1], device=text_BT.device) <= last_B1
        out = self.model(input_ids=text_BT, attention_mask=mask_BT.long())
        x_BTD = out.last_hidden_state
        if self.config.pool == "pooler":
            return out.pooler_output
        if self.config.pool == "first":
            return x_BTD[:, 0]
        if self.config.pool == "last":
            return x_BTD.gather(1, last_B1[..., None].expand(-1, -1, self.width))[:, 0]
        return (x_BTD * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)


def _last_token(text_BT: Tensor, end_id: int) -> Tensor:
    """Place of each text's first end token, (B,); of the last token where there is none."""
    is_end = text_BT == end_id
    return torch.where(is_end.any(1), is_end.int().argmax(1), text_BT.shape[1] - 1)


def their_config(config: HFTextConfig) -> "PretrainedConfig":
    from transformers import AutoConfig

    stored = json.loads(config.resolved().model)
    try:
        theirs = AutoConfig.for_model(stored.pop("model_type"), **stored)
    except (KeyError, ValueError) as error:
        raise UserError(f"{config.name}: transformers cannot build this model: {_first_line(error)}") from None
    return theirs.get_text_config()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
