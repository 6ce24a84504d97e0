"""How to train, whatever the task."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Decay = Annotated[float, Field(ge=0, lt=1)]


class TrainConfig(BaseModel):
    """Steps, optimiser and schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=1000, ge=1, description="optimiser steps")
    batch_size: int = Field(default=128, ge=1, description="samples a step, over all processes")
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw", description="muon: orthogonal steps for hidden matrices and convolutions, AdamW for the rest"
    )
    lr: float = Field(default=1e-3, gt=0, description="learning rate after warm-up")
    warmup_steps: int = Field(default=50, ge=0, description="steps of linear warm-up")
    final_lr_ratio: float = Field(default=0.02, ge=0, le=1, description="last learning rate over the highest (cosine)")
    weight_decay: float = Field(default=0.05, ge=0, description="decoupled, on matrices only")
    betas: tuple[Decay, Decay] = Field(default=(0.9, 0.98), description="AdamW's averaging of gradient and its square")
    grad_clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 autocast on a GPU, fp32 on a CPU"
    )
    seed: int = Field(default=0, ge=0, description="of weights, data order and dropout")
    log_every: int = Field(default=20, ge=1, description="steps between rows of metrics.jsonl")
    save_every: int = Field(default=500, ge=1, description="steps between checkpoints")
    keep_last: int = Field(default=2, ge=1, description="checkpoints kept; older ones are deleted")
