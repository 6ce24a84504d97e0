"""Can a DALL-E finish a picture that somebody began? The lower half of shapes, drawn below the true upper half.

The oracle of the ``shapes`` data judges, as for composition: the whole picture has to show what the caption says, and
nothing else, so that an object cut in two must be drawn to its end.

# B pictures, K candidates of each, T text tokens, N image tokens
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from calligram.dalle.completion import keep_rows
from calligram.dalle.draw import DallePipeline
from calligram.dalle.sampling import sample
from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.eval.estimate import Estimate, mean
from calligram.eval.sheet import SheetRow, row_sheet
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.eval.tasks.composition import Drawing, Order, choose_samples, is_right, judge, summarise
from calligram.pictures import to_image
from calligram.progress import Progress

SHOWN = 8  # pictures in the report


@dataclass(frozen=True)
class Half:
    """A picture to complete: what its caption says, and its tokens, of which the upper half is given."""

    order: Order
    tokens_N: Tensor


class CompletionTask(EvalTask):
    """Share of pictures completed wholly right: best of n by CLIP, and the first drawing alone.

    Beside it the share that is right once the true picture has been through the tokenizer, which is the most that can
    be reached, and the share of given tokens that came back as given, which has to be 1.
    """

    name = "completion"
    needs = ("dalle",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return data.name == "shapes" and config.split in data.splits

    @torch.inference_mode()
    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.dalle is not None
        dalle = models.dalle
        halves = read_halves(dalle, Shards(data, config.split), config.num_captions)
        keep_N = keep_rows(dalle.image_tokenizer.grid // 2, dalle.image_tokenizer.grid)
        kept, drawings = [], []
        for half, tokens_KN in complete(dalle, halves, keep_N, config):
            kept.append(float((tokens_KN == half.tokens_N)[:, keep_N].double().mean()))
            drawings.append(judge(half.order, dalle.decode(tokens_KN).cpu(), models.clip))
        yield from (
            (f"dalle.completion.{name.replace('num_captions', 'num_samples')}", x) for name, x in figures(drawings)
        )
        yield "dalle.completion.kept_tokens", mean(kept)
        rebuilt = dalle.decode(torch.stack([half.tokens_N for half in halves])).cpu()
        right = [is_right(image, half.order.claims) for image, half in zip(rebuilt, halves, strict=True)]
        yield "dalle.completion.reconstructed_all_right", mean(right)
        yield "dalle.completion.pictures", pictures_sheet(rebuilt, drawings)


def complete(
    dalle: DallePipeline, halves: list[Half], keep_N: Tensor, config: EvalConfig
) -> Iterator[tuple[Half, Tensor]]:
    """The candidates (K, N) of each half, many halves at a time."""
    number = config.num_candidates
    at_once = max(1, dalle.batch_size // number)
    with Progress("complete pictures", len(halves)) as progress:
        for start in range(0, len(halves), at_once):
            chunk = halves[start : start + at_once]
            captions = [half.order.caption for half in chunk for _ in range(number)]
            text_BT = dalle.text_tokenizer(captions, strict=True).to(dalle.device)
            given_BN = torch.stack([half.tokens_N for half in chunk]).repeat_interleave(number, 0)
            first = (config.seed * len(halves) + start) * number  # no two runs share a drawing
            seeds = range(first, first + len(captions))
            tokens_BN = sample(dalle.model, text_BT, seeds, dalle.sampling, given=given_BN, keep=keep_N)
            yield from zip(chunk, tokens_BN.unflatten(0, (-1, number)), strict=True)
            progress.advance(len(chunk))


def read_halves(dalle: DallePipeline, shards: Shards, number: int) -> list[Half]:
    """Pictures in equal parts of each kind."""
    size = dalle.image_tokenizer.config.image_size
    return [Half(order, dalle.encode(shards[i].square(size)[None])[0]) for i, order in choose_samples(shards, number)]


def figures(drawings: list[Drawing]) -> Iterator[tuple[str, float | Estimate]]:
    """Those of composition that say something here: all, and each kind."""
    return ((name, value) for name, value in summarise(drawings) if name.startswith(("all", "first", "num", "kind")))


def pictures_sheet(rebuilt: Tensor, drawings: list[Drawing]) -> Image.Image:
    """Pictures as their tokens have them, above the completions that were picked."""
    number = min(SHOWN, len(drawings))
    verdicts = ["right" if each.best_right else "wrong" for each in drawings[:number]]
    captions = [each.order.caption for each in drawings[:number]]
    completed = [to_image(each.images[0]) for each in drawings[:number]]
    return row_sheet(
        [
            SheetRow(
                "the picture, of which the upper half is given", [to_image(x) for x in rebuilt[:number]], captions
            ),
            SheetRow("the lower half drawn", completed, verdicts),
        ]
    )
