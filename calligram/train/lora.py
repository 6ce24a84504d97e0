"""LoRA (arXiv 2106.09685): small matrices beside frozen ones are what is trained, by the peft library."""

from collections.abc import Sequence

import torch
from torch import nn

from calligram import runs
from calligram.errors import UserError
from calligram.train.config import LoraConfig
from calligram.train.frozen import matching


def adapt(model: nn.Module, config: LoraConfig) -> None:
    """Give linear layers an adapter each and freeze all the rest but ``config.also``; nothing where the rank is 0.

    Layers that are frozen already get none. Raises UserError for names that the model does not have.
    """
    if not config.rank:
        return
    whole = matching(model, config.also, "--train.lora.also")
    layers = _layers(model, config.targets)
    _inject(model, layers, config)
    for name, p in model.named_parameters():
        p.requires_grad_(".lora_" in name or name in whole)


def _layers(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """The linear layers that are trained and that a pattern names."""
    wanted = set(matching(model, patterns, "--train.lora.targets")) if patterns else None
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module.weight.requires_grad
        and (wanted is None or f"{name}.weight" in wanted)
    ]
    if not found:
        raise UserError(
            f"--train.lora.targets {' '.join(patterns)}: no linear layer that is trained is among these; name others, "
            f"or freeze less"
        )
    return found


def _inject(model: nn.Module, layers: list[str], config: LoraConfig) -> None:
    try:
        import peft
    except ImportError:
        raise UserError("--train.lora.rank: peft is not installed; pip install 'calligram[lora]'") from None
    scaling = config.alpha / config.rank
    kind = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=layers, bias="none"
    )
    peft.inject_adapter_in_model(kind, model)
    for name in layers:  # with the weights, so that whoever reads them needs to know no more
        model.get_submodule(name).register_buffer(runs.LORA_SCALING, torch.tensor(scaling))
