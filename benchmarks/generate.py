"""Drawing tokens against transformers' `generate` with the same weights: python benchmarks/generate.py [--quick]

30M parameters, 32 text and 256 image tokens, of Llama's kind, so that our export is a LlamaForCausalLM; its logits are
compared first. Each side at its best precision and, theirs, with its best cache, found by drawing a few tokens.
What is drawn is random on both sides; tokens outside the image vocabulary are suppressed there, as the export asks.
Where DALLE-pytorch can be imported (``_dalle_pytorch.py`` says how), its own sampler is a peer, too: as many tokens of
each kind and as many parameters, 6 layers instead of 9 since its MLP is wider; as released at batch 1 only, drawn once.
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import _dalle_pytorch
import torch
from _drawing import (
    CODES,
    GRID,
    NAMES,
    PRECISIONS,
    PROBED,
    SIZE,
    TEXT,
    WORDS,
    Ours,
    best_of_ours,
    build,
    fastest,
    seconds,
    texts,
    transformers_peers,
)
from harness import Row, paired_seconds, row_of_pairs, run, throughput_row
from torch import Tensor

from calligram.dalle.hf import joint_inputs
from calligram.dalle.model import Dalle
from calligram.dalle.sampling import SamplingConfig, reading, sample


def throughput(model: Dalle, quick: bool) -> Iterator[Row]:
    number = 32 if quick else GRID * GRID
    peers = transformers_peers(model)
    for batch in (1, 8, 32):
        text = texts(batch)
        inputs = joint_inputs(model, text)
        peer = fastest(peers, lambda side, inputs=inputs: side.draw(inputs, PROBED))
        ours = best_of_ours(model, text)
        pairs = paired_seconds(
            partial(ours.draw, text, number), partial(peer.draw, inputs, number), repeats=1 if quick else 3
        )
        case = f"batch {batch}, {TEXT} + {number} tokens, ours {ours.name}"
        yield throughput_row(case, "tokens", batch * number, pairs, peer.name)
        exact = Ours(model, "same")
        pairs = [(seconds(partial(exact.draw, text, number)), theirs) for _, theirs in pairs]
        yield throughput_row(
            f"batch {batch}, {TEXT} + {number} tokens, ours fp32", "tokens", batch * number, pairs, peer.name
        )


def against_dalle_pytorch(model: Dalle, quick: bool) -> Iterator[Row]:
    """As ``throughput``; nothing where the package is missing."""
    package = _dalle_pytorch.load()
    if package is None:
        return
    sizes = {"text": TEXT, "grid": GRID, "words": WORDS, "codes": CODES, "width": SIZE.width, "heads": SIZE.num_heads}
    *cached, released = _dalle_pytorch.peers(package, **sizes)
    codes = torch.randint(0, CODES, (2, 40), generator=torch.Generator().manual_seed(2))
    worst = _dalle_pytorch.check_cache(cached[0], texts(2), codes)
    print(f"DALLE-pytorch: the cache changes logits by {worst:.1e} at most", file=sys.stderr)
    number = 32 if quick else GRID * GRID
    for batch in (1, 8, 32):
        text = texts(batch)
        ours = best_of_ours(model, text)
        peer = fastest(cached, lambda side, text=text: side.draw(text, PROBED))
        # without a cache a picture takes a minute: once, and one of them
        turns = [(peer, 1 if quick else 3, 1), *([(released, 1, 0)] if batch == 1 else [])]
        for side, repeats, warmup in turns:
            pairs = paired_seconds(
                partial(ours.draw, text, number), partial(side.draw, text, number), repeats=repeats, warmup=warmup
            )
            case = f"batch {batch}, {TEXT} + {number} tokens, ours {ours.name}"
            yield throughput_row(case, "tokens", batch * number, pairs, side.name)


def bandwidth() -> float:
    """Bytes a second at which memory is read, by all threads: the best of some sums over 1 GiB."""
    x = torch.ones(2**28)
    return 4 * x.numel() / min(seconds(x.sum) for _ in range(8))


def floor(model: Dalle) -> Iterator[Row]:
    """The time of a step at batch 1 against that of reading its weights."""
    speed, text = bandwidth(), texts(1)
    for weights in PRECISIONS:
        side = Ours(model, weights)
        steps = step_seconds(side, text, 128)
        share = side.reader.decoder.num_bytes / speed / statistics.median(steps)
        case = f"batch 1, {NAMES[weights]}, {side.reader.decoder.num_bytes / 2**20:.0f} MiB at {speed / 1e9:.1f} GB/s"
        yield Row(case=case, metric="share of the floor", ours=share, peer=1.0, peer_name="memory", ratio=share)


@torch.inference_mode()
def step_seconds(side: Ours, text_BT: Tensor, number: int) -> list[float]:
    """Of each step alone, without choosing a token."""
    seen = reading.Reading(side.reader, text_BT, torch.ones(side.model.num_image_tokens))
    tokens = torch.randint(0, CODES, (len(text_BT), side.model.num_image_tokens))
    return [seconds(partial(seen.logits, tokens, i, i + 1)) for i in range(1, number)]


def growth(quick: bool) -> Iterator[Row]:
    """No step takes longer than its bytes say: a line through the first 64 steps, weights and filled cache."""
    model, number = build(grid=32), 256 if quick else 1024
    for batch in (1, 8):
        side = Ours(model, "int8")
        repeats = [step_seconds(side, texts(batch), number) for _ in range(2 if quick else 5)]
        times = [statistics.median(step) for step in zip(*repeats, strict=True)]
        token = 2 * 4 * SIZE.num_layers * SIZE.kv_heads * SIZE.head_width * batch
        num_bytes = [side.reader.decoder.num_bytes + token * (TEXT + i) for i in range(1, number)]
        per_byte = sum(times[:64]) / sum(num_bytes[:64])
        worst = max(t / (n * per_byte) for t, n in zip(times, num_bytes, strict=True))
        name = "bytes of weights and cache, by the first 64 steps"
        yield Row(
            case=f"batch {batch}, {number} tokens", metric="slowest step over predicted", ours=worst, peer=1.0,
            peer_name=name, ratio=1 / worst,
        )  # fmt: skip


def sharing(model: Dalle, quick: bool) -> Iterator[Row]:
    """16 candidates of one prompt under guidance: texts read once each, or for each candidate; or one at a time."""
    text = texts(1).expand(16, -1)
    config = SamplingConfig(step="fast", weights="int8", guidance=3.0)
    together = partial(sample, model, text, range(16), config)
    repeats = 1 if quick else 3
    pairs = paired_seconds(together, partial(without_sharing, together), repeats=repeats)
    case, metric = "16 candidates, guidance 3, int8", "seconds"
    yield row_of_pairs(case, metric, pairs, "each candidate's texts read anew", higher_is_better=False)

    def one_by_one() -> None:
        for seed in range(16):
            sample(model, text[:1], [seed], config)

    pairs = paired_seconds(together, one_by_one, repeats=repeats, warmup=0)
    yield row_of_pairs(case, metric, pairs, "one candidate after the other", higher_is_better=False)


def without_sharing(draw: Callable[[], Any]) -> None:
    """As if neither a prompt nor the empty text were shared."""

    def read_all(model: Any, text_BT: Tensor, guided: bool) -> tuple[Tensor, Any]:
        both = torch.cat([text_BT, model.drop_text(text_BT)]) if guided else text_BT
        cache = model.new_cache(len(both))
        return model.prefill(both, cache), cache

    original, reading.read_texts = reading.read_texts, read_all
    try:
        draw()
    finally:
        reading.read_texts = original


def measure(quick: bool) -> Iterator[Row]:
    model = build()
    print(f"{sum(x.numel() for x in model.parameters()) / 1e6:.1f}M parameters", file=sys.stderr)
    yield from floor(model)
    yield from throughput(model, quick)
    yield from against_dalle_pytorch(model, quick)
    yield from sharing(model, quick)
    yield from growth(quick)


if __name__ == "__main__":
    run("generate", measure, ["torch", "transformers", "dalle-pytorch", "calligram"])
