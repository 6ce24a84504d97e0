"""The learning rate of each step."""

import math

from calligram.train.config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up to ``lr``, then as the schedule says, down to ``lr · final_lr_ratio`` at the last step.

    cosine: all the way down. constant: not at all. cooldown: constant, then linear over the last ``cooldown_steps``
    (arXiv 2405.18392).
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    first = config.warmup_steps
    if config.schedule == "cooldown":
        first = max(first, config.steps - 1 - config.cooldown_steps)
    progress = min(1.0, max(0, step - first) / max(1, config.steps - 1 - first))
    height = 1 - progress if config.schedule == "cooldown" else 0.5 * (1 + math.cos(math.pi * progress))
    low = config.final_lr_ratio
    return config.lr * (low + (1 - low) * height)
