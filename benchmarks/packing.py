"""Packed captions beside captions trimmed to the longest, both ours: python benchmarks/packing.py [--quick]

Each runs the whole text tower, on a CPU, forward and forward with backward. Lengths are drawn from a gamma
distribution: a spread of 0.25 is that of captions written on request, 0.6 that of captions found on the web.
"""

from collections.abc import Callable, Iterator

import torch
from harness import Row, paired_seconds, run, throughput_row
from torch import Tensor

from calligram.clip.towers import TextTower, TextTowerConfig
from calligram.nn.packed import Packing
from calligram.nn.transformer import TransformerConfig
from calligram.tokenizers.text import trim_to_longest

CONTEXT, VOCABULARY, END = 77, 512, 2
QUICK = [(128, 2, 4, 32), (128, 2, 4, 128), (256, 4, 4, 32)]  # width, layers, heads, captions
ALL = [(64, 2, 2, 8), (64, 2, 2, 128), (128, 2, 4, 8), *QUICK, (512, 12, 8, 32), (512, 12, 8, 256)]
SPREADS = [(10, 0.25), (15, 0.25), (20, 0.6)]  # mean tokens, standard deviation over the mean


def measure(quick: bool) -> Iterator[Row]:
    torch.manual_seed(0)
    for width, num_layers, num_heads, number in QUICK if quick else ALL:
        transformer = TransformerConfig(width=width, num_layers=num_layers, num_heads=num_heads)
        tower = TextTower(TextTowerConfig(context_length=CONTEXT, transformer=transformer), VOCABULARY, END)
        for mean, spread in SPREADS:
            ids = captions(number, mean, spread)
            packing = Packing.of((ids == END).int().argmax(1) + 1, causal=True)
            chosen = "packed" if packing.pays(width) else "trimmed"
            for backward in (False, True):
                pairs = paired_seconds(
                    step(tower, packed, ids, backward), step(tower, trimmed, ids, backward), repeats=3 if quick else 5
                )
                case = f"width {width}, {num_layers} layers, {number} of {mean} tokens, spread {spread}"
                case += f", {'forward + backward' if backward else 'forward'}, chosen: {chosen}"
                yield throughput_row(case, "captions", number, pairs, "trimmed")


def captions(number: int, mean: float, spread: float) -> Tensor:
    """Random ids (number, CONTEXT) with an end token each."""
    shape = torch.tensor(spread**-2)
    length = torch.distributions.Gamma(shape, shape / (mean - 2)).sample((number,)).round().clamp(1, CONTEXT - 2)
    end_B1 = length.long()[:, None] + 1
    position_T = torch.arange(CONTEXT)
    ids = torch.randint(3, VOCABULARY, (number, CONTEXT)).masked_fill(position_T > end_B1, 0)
    return ids.masked_fill(position_T == end_B1, END)


def step(
    tower: TextTower, way: Callable[[TextTower, Tensor], Tensor], ids: Tensor, backward: bool
) -> Callable[[], None]:
    def action() -> None:
        with torch.set_grad_enabled(backward):
            vectors = way(tower, ids)
        if backward:
            vectors.square().mean().backward()
            tower.zero_grad(set_to_none=True)

    return action


def packed(tower: TextTower, ids: Tensor) -> Tensor:
    return tower._packed(ids, Packing.of((ids == END).int().argmax(1) + 1, causal=True))


def trimmed(tower: TextTower, ids: Tensor) -> Tensor:
    return tower._trimmed(trim_to_longest(ids, END), (ids == END).int().argmax(1))


if __name__ == "__main__":
    run("packing", measure, ("torch",))
