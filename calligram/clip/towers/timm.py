"""Any image model of the timm library as an image tower."""

from typing import Any, Literal

import timm
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from calligram.clip.towers.projection import Projection
from calligram.errors import UserError
from calligram.nn.timm_attention import use_our_attention


class TimmConfig(BaseModel):
    """Any image model of the timm library, without its classifier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["timm"] = "timm"
    name: str = Field(description="name in timm, e.g. resnet18")
    pretrained: bool = Field(default=False, description="download timm's weights")
    projection: Projection = "linear"


class TimmTower(nn.Module):
    """(B, 3, H, W) → (B, D), through a model of timm."""

    def __init__(self, config: TimmConfig, image_size: int):
        super().__init__()
        if not timm.is_model(config.name):
            raise UserError(f"timm has no model {config.name!r}: see timm.list_models()")
        # convolutions take any size; Transformers must be told, since their tables of positions depend on it
        known = timm.get_pretrained_cfg(config.name)
        size: dict[str, Any] = {"img_size": image_size} if known and known.fixed_input_size else {}
        model: Any = timm.create_model(config.name, pretrained=config.pretrained, num_classes=0, **size)
        use_our_attention(model)
        self.model: nn.Module = model
        # a few models have one more layer between their features and what they return
        self.width: int = getattr(model, "head_hidden_size", model.num_features)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)
