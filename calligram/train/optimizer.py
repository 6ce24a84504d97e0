"""The optimiser, AdamW (arXiv 1711.05101) or Muon beside it, and its schedule."""

import math

import torch
from torch import nn

from calligram.train.config import TrainConfig
from calligram.train.muon import Muon, is_hidden


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Matrices decay; gains, biases, temperatures and tables of positions, pads or embeddings do not."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]

    def decays(name: str, p: nn.Parameter) -> bool:
        # what a layer multiplies by is called "weight"; other tables are added, or looked up
        return p.ndim >= 2 and name.endswith("weight") and id(p) not in embeddings

    def orthogonal(name: str, p: nn.Parameter) -> bool:
        return config.optimizer == "muon" and decays(name, p) and is_hidden(name, p)

    groups = [
        {"params": [p for name, p in trained if decays(name, p) and not orthogonal(name, p)]},
        {"params": [p for name, p in trained if not decays(name, p)], "weight_decay": 0.0},
    ]
    defaults = {"lr": config.lr, "betas": config.betas, "eps": 1e-8, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, **defaults)
    for matrices in (1, 3):
        chosen = [p for name, p in trained if orthogonal(name, p) and matrices == (3 if "qkv" in name else 1)]
        groups.append({"params": chosen, "matrices": matrices})
    return Muon(groups, **defaults)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine from ``lr`` to ``lr · final_lr_ratio`` at the last step."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - 1 - config.warmup_steps)
    low = config.final_lr_ratio
    return config.lr * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
