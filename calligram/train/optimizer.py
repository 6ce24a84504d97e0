"""The optimiser, AdamW (arXiv 1711.05101) or Muon beside it, and which parameters are treated how."""

import re
from collections import defaultdict
from typing import Any

import torch
from torch import nn

from calligram.train.config import TrainConfig
from calligram.train.muon import Muon, is_hidden
from calligram.train.state import trained

Kind = tuple[int, bool, float]  # matrices that Muon steps, whether it decays, its share of the learning rate
_BLOCK = re.compile(r"(?:^|(.*)\.)blocks\.(\d+)\.")  # a tower's name, and the number of a block in it


def build_optimizer(model: nn.Module, config: TrainConfig, companion: nn.Module | None = None) -> torch.optim.AdamW:
    """One for a model and what is trained beside it.

    Matrices decay; gains, biases, temperatures and tables of positions, pads or embeddings do not.

    Each group has an ``lr_scale``, by which the learning rate of a step is multiplied.
    """
    parts = [model] if companion is None else [model, companion]
    embeddings = {id(m.weight) for part in parts for m in part.modules() if isinstance(m, nn.Embedding)}
    named = trained(model, companion)
    scales = layer_scales([*named], config.layer_decay)
    groups: dict[Kind, list[nn.Parameter]] = defaultdict(list)
    for name, p in named.items():
        if not p.requires_grad:
            continue
        # what a layer multiplies by is called "weight"; other tables are added, or looked up
        decays = p.ndim >= 2 and name.endswith("weight") and id(p) not in embeddings
        matrices = 0
        if config.optimizer == "muon" and decays and is_hidden(name, p):
            matrices = 3 if "qkv" in name else 1
        groups[matrices, decays, scales[name]].append(p)
    listed = [_group(config, kind, groups[kind]) for kind in sorted(groups)]
    defaults = {"lr": config.lr, "betas": config.betas, "eps": 1e-8, "weight_decay": config.weight_decay, "fused": True}
    return Muon(listed, **defaults) if config.optimizer == "muon" else torch.optim.AdamW(listed, **defaults)


def _group(config: TrainConfig, kind: Kind, parameters: list[nn.Parameter]) -> dict[str, Any]:
    matrices, decays, scale = kind
    group: dict[str, Any] = {"params": parameters, "lr_scale": scale}
    if not decays:
        group["weight_decay"] = 0.0
    if config.optimizer == "muon":
        group["matrices"] = matrices
    return group


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> float:
    """Each group its share of the learning rate, which is returned."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
    return lr


def layer_scales(names: list[str], decay: float) -> dict[str, float]:
    """By a parameter's name: ``decay`` to the power of the layers between it and the end of its tower.

    A tower is what holds ``blocks``. What comes before the first block counts as a layer of its own, what comes after
    the last one, or belongs to no tower, is at the end (arXiv 2106.08254).
    """
    numbers: dict[str, list[int]] = defaultdict(list)
    for name in names:
        if found := _BLOCK.match(name):
            numbers[_tower(found)].append(int(found.group(2)))
    scales = {}
    for place, name in enumerate(names):
        found = _BLOCK.match(name)
        towers = [tower for tower in numbers if not tower or name.startswith(f"{tower}.")]
        tower = _tower(found) if found else max(towers, key=len, default=None)
        if tower is None:
            scales[name] = 1.0
            continue
        depth = max(numbers[tower]) + 2  # layers of the tower, and the end
        if found:
            layer = int(found.group(2)) + 1
        else:
            first = next(i for i, other in enumerate(names) if (m := _BLOCK.match(other)) and _tower(m) == tower)
            layer = 0 if place < first else depth
        scales[name] = decay ** (depth - layer)
    return scales


def _tower(found: re.Match) -> str:
    """``visual`` of ``visual.transformer.blocks.3.mlp``: the blocks' owner's owner, with all that is before them."""
    return (found.group(1) or "").rpartition(".")[0]
