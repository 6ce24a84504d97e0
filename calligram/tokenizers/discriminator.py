"""A patch discriminator (arXiv 1611.07004) with the hinge loss (arXiv 1705.02894), for reconstructions.

# B batch, H W pixels, p q the grid of patches
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from calligram.tokenizers.losses import DiscriminatorConfig

MAX_WIDTH = 8  # times the first layer's channels


class PatchDiscriminator(nn.Module):
    """(B, 3, H, W), 0 … 1 → how much each patch looks like one of a picture, (B, 1, p, q)."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        widths = [config.width * min(2**i, MAX_WIDTH) for i in range(config.num_layers)]
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for before, after in pairwise(widths):
            # statistics of one picture alone: those of a batch would tell where its pictures come from
            norm = nn.GroupNorm(1, after)
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), norm, nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images * 2 - 1)


def hinge_loss(discriminator: nn.Module, images: Tensor, rebuilt: Tensor) -> Tensor:
    """What the discriminator minimises; no gradient reaches the pictures."""
    real, fake = discriminator(images.detach()), discriminator(rebuilt.detach())
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def deceiving_loss(discriminator: nn.Module, rebuilt: Tensor) -> Tensor:
    """What a tokenizer minimises; no gradient reaches the discriminator's weights."""
    weights = {name: p.detach() for name, p in discriminator.named_parameters()}
    return -functional_call(discriminator, weights, (rebuilt,)).mean()


def idle_loss(discriminator: nn.Module) -> Tensor:
    """Nothing, with a gradient of nothing: processes that share a gradient wait for that of every weight."""
    return sum((p.sum() * 0 for p in discriminator.parameters()), start=next(discriminator.parameters()).new_zeros(()))
