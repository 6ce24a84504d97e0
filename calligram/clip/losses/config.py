"""Which losses a CLIP is trained with."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from calligram.nn.transformer import Activation

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


class DistillConfig(BaseModel):
    """A teacher, whose likenesses a CLIP learns beside its captions (as in open_clip's DistillClipLoss)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher: Path | None = Field(
        default=None, description="CLIP to learn from: a run, or a model of others as `calligram convert` takes it"
    )
    weight: float = Field(default=1.0, gt=0, description="of the distillation loss, which is added to the other")
    activation: Activation | None = Field(
        default=None, description="the teacher's, where it is a file of weights that does not say it"
    )

    @model_validator(mode="after")
    def _has_a_teacher(self) -> Self:
        given = [name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default]
        if given and self.teacher is None:
            raise ValueError(f"distill.{given[0]} without distill.teacher: name one, or leave it out")
        return self


LossConfig = Annotated[SoftmaxConfig | SigmoidConfig, Field(discriminator="type")]
