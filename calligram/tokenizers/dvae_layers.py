"""The encoder and decoder of DALL-E's discrete VAE (arXiv 2102.12092, appendix A), at any size.

Parameters have the names of the published ones, but for ``weight`` and ``bias``, which were ``w`` and ``b``.

# B batch, V vocabulary, h w the token grid, H W pixels
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM = 7  # pixels a side that the first convolution sees
# Logits at the start, over those of inputs of variance 1. Where they lie closer together the soft choice is nearly the
# same everywhere, and of the codes only a few are ever learnt.
SPREAD = 3.0
PARAMETERS = 6  # of a pixel: where the distribution of each of its colours lies, and how wide it is


class FullPrecision(nn.Conv2d):
    """A 1 × 1 convolution that is no part of mixed precision: thousands of logits need all digits."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


class Bottleneck(nn.Module):
    """Four convolutions at a quarter of the channels, added to their input with a small gain."""

    def __init__(self, before: int, after: int, kernels: tuple[int, int, int, int], gain: float):
        super().__init__()
        self.gain = gain
        self.id_path = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        widths = (before, *[after // 4] * 3, after)
        layers: list[tuple[str, nn.Module]] = []
        for number, kernel in enumerate(kernels, start=1):
            conv = nn.Conv2d(widths[number - 1], widths[number], kernel, padding=kernel // 2)
            layers += [(f"relu_{number}", nn.ReLU()), (f"conv_{number}", conv)]
        self.res_path = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        return self.id_path(x) + self.gain * self.res_path(x)


class DVAEEncoder(nn.Module):
    """(B, 3, H, W), pixels in ε … 1 − ε → logits (B, V, h, w)."""

    def __init__(self, width: int, num_groups: int, num_blocks: int, vocab_size: int):
        super().__init__()
        gain = 1 / (num_groups * num_blocks) ** 2
        parts: list[tuple[str, nn.Module]] = [("input", nn.Conv2d(3, width, STEM, padding=STEM // 2))]
        before = width
        for group in range(num_groups):
            after = width * 2**group
            layers = _blocks(before, after, num_blocks, (3, 3, 3, 1), gain)
            if group < num_groups - 1:
                layers.append(("pool", nn.MaxPool2d(2)))
            parts.append((f"group_{group + 1}", nn.Sequential(OrderedDict(layers))))
            before = after
        head = FullPrecision(before, vocab_size, 1)
        parts.append(("output", nn.Sequential(OrderedDict([("relu", nn.ReLU()), ("conv", head)]))))
        self.blocks = nn.Sequential(OrderedDict(parts))
        self.apply(_init)
        with torch.no_grad():
            head.weight *= SPREAD

    def forward(self, pixels: Tensor) -> Tensor:
        return self.blocks(pixels)


class DVAEDecoder(nn.Module):
    """Shares of codes (B, V, h, w), or their ids → (B, 6, H, W): three places and three logarithms of widths."""

    blocks: nn.Sequential

    def __init__(self, width: int, num_groups: int, num_blocks: int, vocab_size: int, stem: int):
        super().__init__()
        gain = 1 / (num_groups * num_blocks) ** 2
        parts: list[tuple[str, nn.Module]] = [("input", FullPrecision(vocab_size, stem, 1))]
        before = stem
        for group in range(num_groups):
            after = width * 2 ** (num_groups - 1 - group)
            layers = _blocks(before, after, num_blocks, (1, 3, 3, 3), gain)
            if group < num_groups - 1:
                layers.append(("upsample", nn.Upsample(scale_factor=2, mode="nearest")))
            parts.append((f"group_{group + 1}", nn.Sequential(OrderedDict(layers))))
            before = after
        head = nn.Conv2d(before, PARAMETERS, 1)
        parts.append(("output", nn.Sequential(OrderedDict([("relu", nn.ReLU()), ("conv", head)]))))
        self.blocks = nn.Sequential(OrderedDict(parts))
        self.apply(_init)

    def forward(self, shares: Tensor) -> Tensor:
        return self.blocks(shares)

    def from_ids(self, ids_Bhw: Tensor) -> Tensor:
        """As ``forward`` of one code at each place; its column of the first layer is looked up."""
        first = self.blocks[0]
        assert isinstance(first, nn.Conv2d) and first.bias is not None
        x = F.embedding(ids_Bhw, first.weight[:, :, 0, 0].T) + first.bias
        return self.blocks[1:](x.movedim(-1, 1))


def _blocks(
    before: int, after: int, number: int, kernels: tuple[int, int, int, int], gain: float
) -> list[tuple[str, nn.Module]]:
    return [(f"block_{i + 1}", Bottleneck(after if i else before, after, kernels, gain)) for i in range(number)]


def _init(module: nn.Module) -> None:
    """Outputs as wide as inputs; the gains keep the sum of all blocks near that."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
