"""Drawing tokens against transformers' `generate` with the same weights: python benchmarks/generate.py [--quick]

30M parameters, 32 text and 256 image tokens, of Llama's kind, so that our export is a LlamaForCausalLM; its logits are
compared first. Each side at its best precision and, theirs, with its best cache, found by drawing a few tokens.
What is drawn is random on both sides; tokens outside the image vocabulary are suppressed there, as the export asks.
Where DALLE-pytorch can be imported (``_dalle_pytorch.py`` says how), its own sampler is a peer, too: as many tokens of
each kind and as many parameters, 6 layers instead of 9 since its MLP is wider; as released at batch 1 only, drawn once.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import _dalle_pytorch
import torch
from harness import Row, paired_seconds, row_of_pairs, run, throughput_row
from torch import Tensor

from calligram.dalle.config import DalleConfig
from calligram.dalle.fast import FastDalle
from calligram.dalle.hf import JointVocabulary, joint_inputs, to_hf
from calligram.dalle.model import Dalle
from calligram.dalle.sampling import SamplingConfig, reading, sample
from calligram.dalle.sampling.prepare import prepared
from calligram.nn.llama import LlamaConfig

TEXT, GRID, WORDS, CODES = 32, 16, 2048, 8192
SIZE = LlamaConfig(width=512, num_layers=9, num_heads=8, num_kv_heads=2, rotary="1d")
PRECISIONS = ("same", "bf16", "int8")
NAMES = {"same": "fp32", "bf16": "bf16", "int8": "int8"}
PROBED = 24  # tokens


def build(grid: int = GRID) -> Dalle:
    torch.manual_seed(0)
    config = DalleConfig(text_length=TEXT, neighbours=False, transformer=SIZE)
    return Dalle(config, WORDS, CODES, grid, end_id=2).eval().requires_grad_(False)


def texts(number: int) -> Tensor:
    """Different ones, as long as may be."""
    found = torch.randint(3, WORDS, (number, TEXT), generator=torch.Generator().manual_seed(1))
    found[:, -1] = 2
    return found


def seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Theirs:
    """transformers' model in one precision, with one kind of cache."""

    model: Any
    dtype: str
    cache: str

    @property
    def name(self) -> str:
        return f"transformers, {self.dtype}, {self.cache} cache"

    def draw(self, inputs: dict[str, Tensor], number: int) -> Tensor:
        lengths = {"max_new_tokens": number, "min_new_tokens": number}
        ids = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        kind = None if self.cache == "dynamic" else self.cache
        return self.model.generate(**ids, **lengths, do_sample=True, cache_implementation=kind)


@dataclass
class Ours:
    """Our sampler in one precision of the weights, at the fast step."""

    model: Dalle
    weights: str
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = NAMES[self.weights]
        self.config = SamplingConfig(step="fast", weights=self.weights)  # pyright: ignore[reportArgumentType]
        self.reader = prepared(self.model, self.config)
        assert isinstance(self.reader, FastDalle), "there is no fast step here"

    def draw(self, text_BT: Tensor, number: int) -> Tensor:
        """All tokens, or the first of them."""
        if number == self.model.num_image_tokens:
            return sample(self.model, text_BT, range(len(text_BT)), self.config)
        return self.steps(text_BT, number)

    @torch.inference_mode()
    def steps(self, text_BT: Tensor, number: int) -> Tensor:
        seen = reading.Reading(self.reader, text_BT, torch.ones(self.model.num_image_tokens))
        tokens = torch.zeros(len(text_BT), self.model.num_image_tokens, dtype=torch.long)
        for position in range(number):
            tokens[:, position] = seen.logits(tokens, position, position + 1)[:, -1].argmax(-1)
        return tokens[:, :number]


def check_logits(model: Dalle, theirs: Any) -> None:
    """The export and the fast step say the same of a whole picture."""
    text = texts(2)
    pictures = torch.randint(0, CODES, (2, GRID * GRID), generator=torch.Generator().manual_seed(2))
    inputs = joint_inputs(model, text, pictures)
    with torch.inference_mode():
        logits = theirs(**inputs).logits[:, TEXT - 1 : -1, JointVocabulary.of(model).first_image_row :]
        fast = FastDalle(model)
        cache = fast.new_cache(2)
        ours = torch.cat([fast.prefill(text, cache)[:, None], fast.extend(pictures[:, :-1], cache, 0)], 1)
    worst = float((logits - ours).abs().max())
    print(f"largest difference of logits {worst:.1e}, of {float(logits.std()):.2f} in size", file=sys.stderr)
    assert worst < 1e-4


def fastest(sides: list[Any], draw: Callable[[Any], Any]) -> Any:
    """The one that draws a few tokens in the least time, after one try to warm up."""
    return min(sides, key=lambda side: min(seconds(partial(draw, side)) for _ in range(3)))


def throughput(model: Dalle, quick: bool) -> Iterator[Row]:
    number = 32 if quick else GRID * GRID
    exported = to_hf(model)
    check_logits(model, exported)
    halved = to_hf(model).to(torch.bfloat16)
    peers = [
        Theirs(x, dtype, cache)
        for x, dtype in ((exported, "fp32"), (halved, "bf16"))
        for cache in ("dynamic", "static")
    ]
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


def best_of_ours(model: Dalle, text_BT: Tensor) -> Ours:
    """One precision at a time, since only the last that was prepared is kept."""
    taken = {weights: seconds_of(model, weights, text_BT) for weights in PRECISIONS}
    return Ours(model, min(taken, key=lambda name: taken[name]))


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


def seconds_of(model: Dalle, weights: str, text: Tensor) -> float:
    side = Ours(model, weights)
    return min(seconds(partial(side.steps, text, PROBED)) for _ in range(3))


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
