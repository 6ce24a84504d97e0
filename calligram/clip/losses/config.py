"""Which loss a CLIP is trained with."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positives = Literal["equal", "own"]
_POSITIVES = "right texts of a picture: all that equal its caption, or its own copy of it alone"


class SoftmaxConfig(BaseModel):
    """CLIP's loss (arXiv 2103.00020): each picture's text among all texts, and each text's picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["softmax"] = "softmax"
    positives: Positives = Field(default="equal", description=_POSITIVES)


class SigmoidConfig(BaseModel):
    """SigLIP's loss (arXiv 2303.15343): each pair by itself, right or wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["sigmoid"] = "sigmoid"
    positives: Positives = Field(default="equal", description=_POSITIVES)


LossConfig = Annotated[SoftmaxConfig | SigmoidConfig, Field(discriminator="type")]
