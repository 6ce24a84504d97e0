"""What one may ask of the sampler."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Schedule = Literal["constant", "linear", "cosine"]
Decoding = Literal["plain", "jacobi"]
Weights = Literal["same", "bf16", "int8"]
Step = Literal["plain", "fast"]


class SamplingConfig(BaseModel):
    """How tokens are chosen, and how the model is run meanwhile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=1.0, gt=0, description="below 1: safer, above 1: wilder")
    top_k: int | None = Field(default=None, ge=1, description="keep only the k most likely image tokens")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="keep the likeliest image tokens that have this probability together"
    )
    min_p: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="keep image tokens with at least this share of the likeliest's probability",
    )
    guidance: float = Field(default=1.0, ge=0, description="classifier-free guidance scale; 1 is none")
    guidance_schedule: Schedule = Field(
        default="constant", description="of the scale over the picture; linear and cosine grow from 1, equal on average"
    )
    guidance_interval: tuple[float, float] = Field(
        default=(0.0, 1.0), description="from and to which share of the picture guidance is on; the rest costs half"
    )
    decoding: Decoding = Field(
        default="plain", description="jacobi: several tokens a pass, guessed and corrected; the same picture"
    )
    jacobi_window: int = Field(default=16, ge=2, description="tokens of a pass of Jacobi decoding")
    weights: Weights = Field(
        default="same",
        description="precision of the matrices; int8 has a scale for each output; sums are fp32 or exact",
    )
    step: Step = Field(
        default="plain", description="fast: a pass is one call of C, compiled at first use; on CPUs, elsewhere as plain"
    )

    @field_validator("guidance_interval")
    @classmethod
    def _from_is_before_to(cls, interval: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= interval[0] < interval[1] <= 1:
            raise ValueError(f"guidance_interval {interval} is not two shares of the picture, as 0 0.5, in order")
        return interval
