"""Does the drawing show what the sentence says? Judged object by object, in GenEval's categories (arXiv 2310.11513).

The judge is the oracle of the ``shapes`` data, no neural network. A picture is right when every attribute
and relation of its caption is.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from calligram.clip.zero_shot import ClipPipeline
from calligram.dalle.draw import DallePipeline
from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.data.shapes.claims import Claims, category
from calligram.data.shapes.judge import all_right
from calligram.data.shapes.oracle import read_picture
from calligram.data.shapes.scene import KINDS
from calligram.eval.estimate import Estimate, mean
from calligram.eval.rerank import rerank
from calligram.eval.sheet import contact_sheet
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.pictures import to_image
from calligram.progress import Progress

SHOWN = 12  # drawings on the report's sheet, half of them wrong where there are so many


@dataclass(frozen=True)
class Order:
    """A sentence to draw and what it claims."""

    caption: str
    claims: Claims
    kind: str


@dataclass(frozen=True)
class Drawing:
    """What came of an order: the candidates, best first where CLIP has sorted them, and the verdict on the best."""

    order: Order
    images: Tensor  # uint8 (candidates, 3, H, W)
    scores: Tensor | None
    best_right: bool
    first_right: bool  # of the candidate drawn first, without reranking


class Composition(EvalTask):
    """Share of captions drawn wholly right: best of n by CLIP, and the first drawing alone."""

    name = "composition"
    needs = ("dalle",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return data.name == "shapes" and config.split in data.splits

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.dalle is not None
        manifest = Manifest.load(data)
        for split, prefix in ((config.split, ""), (config.holdout_split, "holdout_")):
            if not manifest.splits.get(split):
                continue
            orders = choose_orders(Shards(data, split), config.num_captions)
            drawings = list(draw_orders(models.dalle, models.clip, orders, config, f"draw {split} captions"))
            for name, value in summarise(drawings):
                yield f"dalle.composition.{prefix}{name}", value
            yield f"dalle.composition.{prefix}drawings", drawings_sheet(drawings)


def choose_orders(shards: Shards, number: int) -> list[Order]:
    """Captions in equal parts of each kind, their phrasings in turn."""
    return [order for _, order in choose_samples(shards, number)]


def choose_samples(shards: Shards, number: int) -> list[tuple[int, Order]]:
    """The same, with the number of the sample that a caption is of."""
    wanted = {kind: number // len(KINDS) for kind in KINDS}
    chosen = []
    for i in range(len(shards)):
        meta, captions = shards[i].meta, shards[i].captions
        kind = meta["kind"]
        if wanted[kind] > 0:
            phrasing = wanted[kind] % len(captions)
            wanted[kind] -= 1
            chosen.append((i, Order(captions[phrasing], Claims.model_validate(meta["claims"][phrasing]), kind)))
        if not any(wanted.values()):
            break
    return chosen


def draw_orders(
    dalle: DallePipeline, clip: ClipPipeline | None, orders: list[Order], config: EvalConfig, title: str
) -> Iterator[Drawing]:
    """Draw the candidates of each caption, many captions at a time, and judge them."""
    number = config.num_candidates
    at_once = max(1, dalle.batch_size // number)
    with Progress(title, len(orders)) as progress:
        for start in range(0, len(orders), at_once):
            chunk = orders[start : start + at_once]
            prompts = [order.caption for order in chunk for _ in range(number)]
            first_seed = (config.seed * len(orders) + start) * number  # no two runs share a drawing
            pixels = dalle.draw(prompts, range(first_seed, first_seed + len(prompts))).unflatten(0, (-1, number))
            for order, candidates in zip(chunk, pixels, strict=True):
                yield judge(order, candidates.cpu(), clip)
            progress.advance(len(chunk))


def judge(order: Order, candidates: Tensor, clip: ClipPipeline | None) -> Drawing:
    """Sort the candidates by CLIP, where there is one, and ask the oracle about the best and the first."""
    first_right = is_right(candidates[0], order.claims)
    if clip is None:
        return Drawing(order, candidates, None, first_right, first_right)
    ranking, scores = rerank(clip, order.caption, candidates)
    best_right = is_right(candidates[ranking[0]], order.claims)
    return Drawing(order, candidates[ranking], scores[ranking], best_right, first_right)


def is_right(image_uint8: Tensor, claims: Claims) -> bool:
    pixels = np.ascontiguousarray(image_uint8.permute(1, 2, 0).numpy())
    return all_right(read_picture(pixels), claims)


def summarise(drawings: list[Drawing]) -> Iterator[tuple[str, float | Estimate]]:
    """All captions, then each kind (equal parts), then GenEval's categories (as they fall)."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for drawing in drawings:
        groups[f"kind {drawing.order.kind}"].append(drawing.best_right)  # a category may be named like a kind
        groups[category(drawing.order.claims)].append(drawing.best_right)
    yield "all_right", mean([d.best_right for d in drawings])
    yield "first_all_right", mean([d.first_right for d in drawings])
    yield "num_captions", len(drawings)
    for name, verdicts in sorted(groups.items()):
        yield name.replace(" ", "_").replace("-", "_"), mean(verdicts)


def drawings_sheet(drawings: list[Drawing]) -> Image.Image:
    """Some of the drawings that were picked, those that are wrong first."""
    wrong = [drawing for drawing in drawings if not drawing.best_right][: SHOWN // 2]
    right = [drawing for drawing in drawings if drawing.best_right][: SHOWN - len(wrong)]
    shown = [*wrong, *right]
    words = ["wrong: " + each.order.caption for each in wrong] + ["right: " + each.order.caption for each in right]
    return contact_sheet([to_image(each.images[0]) for each in shown], words)
