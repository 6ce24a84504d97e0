"""What ``generate.py`` compares: our sampler and transformers' `generate`, over one model of 30M parameters."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
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


def best_of_ours(model: Dalle, text_BT: Tensor) -> Ours:
    """One precision at a time, since only the last that was prepared is kept."""
    taken = {weights: seconds_of(model, weights, text_BT) for weights in PRECISIONS}
    return Ours(model, min(taken, key=lambda name: taken[name]))


def seconds_of(model: Dalle, weights: str, text: Tensor) -> float:
    side = Ours(model, weights)
    return min(seconds(partial(side.steps, text, PROBED)) for _ in range(3))


def transformers_peers(model: Dalle) -> list[Theirs]:
    """The export in both precisions, with each kind of cache; that it says what ours says is checked first."""
    exported = to_hf(model)
    check_logits(model, exported)
    halved = to_hf(model).to(torch.bfloat16)
    return [
        Theirs(x, dtype, cache)
        for x, dtype in ((exported, "fp32"), (halved, "bf16"))
        for cache in ("dynamic", "static")
    ]
