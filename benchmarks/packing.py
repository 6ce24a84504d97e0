"""What is packed beside what is not, both ours: python benchmarks/packing.py [--quick]

Captions in one row beside captions trimmed to the longest: lengths are drawn from a gamma distribution, where a spread
of 0.25 is that of captions written on request, 0.6 that of captions found on the web. Pictures of mixed aspect ratios
in one row beside squares of as many patches as theirs may have: aspect ratios are drawn log-normal, so that two thirds
are between 2:3 and 3:2. Each runs the whole tower, on a CPU, forward and forward with backward.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from harness import Row, paired_seconds, row_of_pairs, run, throughput_row
from torch import Tensor, nn

from calligram.clip.towers import TextTower, TextTowerConfig, ViT, ViTConfig
from calligram.nn.packed import Packing
from calligram.nn.transformer import TransformerConfig
from calligram.pictures import native_size
from calligram.tokenizers.text import trim_to_longest

CONTEXT, VOCABULARY, END = 77, 512, 2
QUICK = [(128, 2, 4, 32), (128, 2, 4, 128), (256, 4, 4, 32)]  # width, layers, heads, captions
ALL = [(64, 2, 2, 8), (64, 2, 2, 128), (128, 2, 4, 8), *QUICK, (512, 12, 8, 32), (512, 12, 8, 256)]
QUICK_PICTURES = [(192, 4, 3, 32, 8)]  # width, layers, heads, pictures, patches a side of a square
ALL_PICTURES = [*QUICK_PICTURES, (192, 4, 3, 32, 16), (384, 12, 6, 32, 14)]
PATCH, ASPECTS = 16, 0.4  # pixels; standard deviation of the logarithm of width / height
Action = Callable[[], None]
SPREADS = [(10, 0.25), (15, 0.25), (20, 0.6)]  # mean tokens, standard deviation over the mean


def measure(quick: bool) -> Iterator[Row]:
    yield from measure_captions(quick)
    yield from measure_pictures(quick)


def measure_captions(quick: bool) -> Iterator[Row]:
    torch.manual_seed(0)
    for width, num_layers, num_heads, number in QUICK if quick else ALL:
        transformer = TransformerConfig(width=width, num_layers=num_layers, num_heads=num_heads)
        tower = TextTower(TextTowerConfig(context_length=CONTEXT, transformer=transformer), VOCABULARY, END)
        for mean, spread in SPREADS:
            ids = captions(number, mean, spread)
            packing = Packing.of((ids == END).int().argmax(1) + 1, causal=True)
            chosen = "packed" if packing.pays(width) else "trimmed"
            for backward in (False, True):
                ours, peer = (step(tower, partial(way, tower), ids, backward) for way in (packed, trimmed))
                pairs = paired_seconds(ours, peer, repeats=3 if quick else 5)
                case = f"width {width}, {num_layers} layers, {number} of {mean} tokens, spread {spread}"
                case += f", {'forward + backward' if backward else 'forward'}, chosen: {chosen}"
                yield throughput_row(case, "captions", number, pairs, "trimmed")


def measure_pictures(quick: bool) -> Iterator[Row]:
    torch.manual_seed(0)
    for width, num_layers, num_heads, number, side in QUICK_PICTURES if quick else ALL_PICTURES:
        transformer = TransformerConfig(width=width, num_layers=num_layers, num_heads=num_heads)
        tower = ViT(ViTConfig(patch=PATCH, transformer=transformer), side * PATCH)
        mixed, squares = pictures(number, side**2), torch.rand(number, 3, side * PATCH, side * PATCH)
        tokens = sum(x.shape[1] * x.shape[2] // PATCH**2 for x in mixed), number * side**2
        for backward in (False, True):
            ours, peer = step(tower, tower, mixed, backward), step(tower, tower, squares, backward)
            pairs = paired_seconds(ours, peer, repeats=3 if quick else 5)
            case = f"width {width}, {num_layers} layers, {number} pictures of at most {side**2} patches"
            case += f", {'forward + backward' if backward else 'forward'}"
            yield throughput_row(case, "pictures", number, pairs, "squares")
            rates = [(tokens[0] / a, tokens[1] / b) for a, b in pairs]
            yield row_of_pairs(case, "tokens/s", rates, "squares", higher_is_better=True)


def pictures(number: int, max_patches: int) -> list[Tensor]:
    """Of mixed aspect ratios, each as large as its patches allow."""
    aspects = torch.randn(number).mul(ASPECTS).exp().tolist()
    sizes = [native_size((round(1000 * aspect), 1000), PATCH, max_patches) for aspect in aspects]
    return [torch.rand(3, height, width) for width, height in sizes]


def captions(number: int, mean: float, spread: float) -> Tensor:
    """Random ids (number, CONTEXT) with an end token each."""
    shape = torch.tensor(spread**-2)
    length = torch.distributions.Gamma(shape, shape / (mean - 2)).sample((number,)).round().clamp(1, CONTEXT - 2)
    end_B1 = length.long()[:, None] + 1
    position_T = torch.arange(CONTEXT)
    ids = torch.randint(3, VOCABULARY, (number, CONTEXT)).masked_fill(position_T > end_B1, 0)
    return ids.masked_fill(position_T == end_B1, END)


def step(tower: nn.Module, way: Callable[..., Tensor], inputs: Tensor | list[Tensor], backward: bool) -> Action:
    def action() -> None:
        with torch.set_grad_enabled(backward):
            vectors = way(inputs)
        if backward:
            vectors.square().mean().backward()
            tower.zero_grad(set_to_none=True)

    return action


def packed(tower: TextTower, ids: Tensor) -> Tensor:
    return tower._packed(ids, Packing.of((ids == END).int().argmax(1) + 1, causal=True))


def trimmed(tower: TextTower, ids: Tensor) -> Tensor:
    return tower._rows(trim_to_longest(ids, END), (ids == END).int().argmax(1))


if __name__ == "__main__":
    run("packing", measure, ("torch",))
