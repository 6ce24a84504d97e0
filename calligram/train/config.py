"""How to train, whatever the task."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Decay = Annotated[float, Field(ge=0, lt=1)]


class LoraConfig(BaseModel):
    """Small matrices to train beside frozen ones (arXiv 2106.09685)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=0, ge=0, description="of the two small matrices beside each linear layer; 0: no LoRA")
    alpha: int = Field(default=16, gt=0, description="times 1 / rank, by which their product is multiplied")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of what they read")
    targets: tuple[str, ...] = Field(
        default=(), description="linear layers that have them: *.qkv.*, text, ...; unless given, all that are trained"
    )
    also: tuple[str, ...] = Field(
        default=(), description="parts that are trained themselves: logit_scale, *_projection.*, ..."
    )


class TrainConfig(BaseModel):
    """Steps, optimiser and schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=1000, ge=1, description="optimiser steps")
    batch_size: int = Field(default=128, ge=1, description="samples a step, over all processes")
    accumulate: int = Field(default=1, ge=1, description="parts that each process's share of a batch is computed in")
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw", description="muon: orthogonal steps for hidden matrices and convolutions, AdamW for the rest"
    )
    lr: float = Field(default=1e-3, gt=0, description="learning rate after warm-up")
    warmup_steps: int = Field(default=50, ge=0, description="steps of linear warm-up")
    schedule: Literal["cosine", "constant", "cooldown"] = Field(
        default="cosine", description="learning rate after warm-up; cooldown: constant, then linear down"
    )
    cooldown_steps: int = Field(default=0, ge=0, description="last steps, in which schedule cooldown goes down")
    final_lr_ratio: float = Field(default=0.02, ge=0, le=1, description="last learning rate over the highest")
    weight_decay: float = Field(default=0.05, ge=0, description="decoupled, on matrices only")
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="learning rate of a block over that of the next; 1: the same for all"
    )
    betas: tuple[Decay, Decay] = Field(default=(0.9, 0.98), description="AdamW's averaging of gradient and its square")
    grad_clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="of a running average of the weights, which others then load; 0: none",
    )
    max_skipped: int = Field(
        default=10, ge=1, description="steps in a row with a gradient that is no number that end a training"
    )
    freeze: tuple[str, ...] = Field(
        default=(), description="parts of the model that stay as they are: visual, text.embed, *.norm.*, ..."
    )
    lora: LoraConfig = LoraConfig()
    recompute: bool = Field(default=False, description="forget what blocks compute, for memory, and compute it again")
    compile: bool = Field(default=False, description="torch.compile: minutes at the start, faster steps on a GPU")
    deterministic: bool = Field(default=False, description="the same bits each time on a GPU, too; slower there")
    parallel: Literal["ddp", "fsdp"] = Field(
        default="ddp", description="how several processes hold the model: ddp: each all of it; fsdp: each a piece"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto: bf16 autocast on a GPU, fp32 on a CPU"
    )
    seed: int = Field(default=0, ge=0, description="of weights, data order and dropout")
    log_every: int = Field(default=20, ge=1, description="steps between rows of metrics.jsonl")
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(
        default=("tensorboard",), description="where metrics are shown besides metrics.jsonl"
    )
    save_every: int = Field(default=500, ge=1, description="steps between checkpoints")
    keep_last: int = Field(default=2, ge=1, description="checkpoints kept; older ones are deleted")
    keep_every: int = Field(default=0, ge=0, description="steps between checkpoints that are never deleted; 0: none")

    @model_validator(mode="after")
    def _cooldown_has_steps(self) -> Self:
        if (self.schedule == "cooldown") != (self.cooldown_steps > 0):
            raise ValueError("schedule cooldown and cooldown_steps belong together: give both or neither")
        return self

    @model_validator(mode="after")
    def _lora_has_adamw(self) -> Self:
        if self.lora.rank and self.optimizer == "muon":
            raise ValueError("lora has matrices of low rank, which muon would make orthogonal: optimizer adamw")
        return self
