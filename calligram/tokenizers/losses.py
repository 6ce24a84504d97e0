"""What training an image tokenizer may minimise beside the losses of the tokenizer itself."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class DiscriminatorConfig(BaseModel):
    """A second model that learns to tell pictures from reconstructions, patch by patch (arXiv 1611.07004)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(default=0.0, ge=0, description="of deceiving it; 0: there is none")
    start: int = Field(default=1000, ge=0, description="steps after which it begins to learn, and to be deceived")
    width: int = Field(default=32, ge=4, description="channels of its first layer")
    num_layers: int = Field(default=3, ge=1, description="layers that halve the picture; more see larger patches")


class TokenizerLossConfig(BaseModel):
    """How far a reconstruction is from its picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    l2_weight: float | None = Field(
        default=None, ge=0, description="of the mean squared error; unless given 1, or 0 for a dVAE, which has its own"
    )
    l1_weight: float | None = Field(
        default=None, ge=0, description="of the mean absolute error; unless given 0.1, or 0 for a dVAE"
    )
    perceptual: Path | None = Field(
        default=None, description="run of a CLIP, in whose layers a reconstruction should be like its picture"
    )
    perceptual_weight: float = Field(default=1.0, ge=0, description="of that, where there is such a run")
    lpips: Path | None = Field(
        default=None, description="torchvision's weights of vgg16, for the distance that people see (arXiv 1801.03924)"
    )
    lpips_weight: float = Field(default=1.0, ge=0, description="of that, where there is such a file")
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
