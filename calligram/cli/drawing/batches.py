"""Orders drawn in common batches, each handed on as soon as all of its pictures are there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from calligram.cli.drawing.orders import Order
from calligram.progress import Progress

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from calligram.clip.zero_shot import ClipPipeline
    from calligram.dalle.drawer import Basis, Drawer
    from calligram.dalle.preview import HalfDrawn


@dataclass(frozen=True)
class Candidate:
    """A picture that was drawn of a prompt."""

    image: "Image.Image"
    seed: int
    score: float | None = None  # CLIP's cosine similarity, where a CLIP was asked
    log_p: float | None = None  # of its tokens given the prompt, nats
    tokens_N: "Tensor | None" = None

    def caption(self) -> str:
        score = "" if self.score is None else f"{self.score:.3f}, "
        return f"{score}seed {self.seed}"


@dataclass(frozen=True)
class Job:
    """One picture to draw."""

    order: Order
    seed: int


def draw_orders(
    dalle: "Drawer", orders: Sequence[Order], basis: "Basis | None", clip: "ClipPipeline | None", batch_size: int
) -> Iterator[tuple[Order, list[Candidate]]]:
    """Each order with its candidates, the best first where there is a CLIP to tell."""
    jobs = [Job(order, seed) for order in orders for seed in order.seeds]
    drawn: list[Candidate] = []
    waiting = iter(orders)
    order = next(waiting, None)
    num_tokens = dalle.model.num_image_tokens
    with Progress("draw tokens", len(jobs) * num_tokens) as progress:
        progress.advance(0, pictures=f"0/{len(jobs)}")
        for batch in _batches(jobs, batch_size):
            drawn += _draw(dalle, batch, basis, _Watcher(progress))
            while order is not None and len(drawn) >= len(order.seeds):
                count = len(order.seeds)
                yield order, ranked(clip, order.prompt, drawn[:count])
                drawn, order = drawn[count:], next(waiting, None)
            done = progress.done // num_tokens
            progress.advance(0, pictures=f"{done}/{len(jobs)}")


def _batches(jobs: Sequence[Job], batch_size: int) -> Iterator[list[Job]]:
    """In their order; what is drawn with other settings is drawn apart."""
    for _, alike in groupby(jobs, key=lambda job: job.order.sampling):
        same = list(alike)
        yield from (same[start : start + batch_size] for start in range(0, len(same), batch_size))


def _draw(dalle: "Drawer", jobs: Sequence[Job], basis: "Basis | None", watch: Any) -> list[Candidate]:
    prompts, seeds = [job.order.prompt for job in jobs], [job.seed for job in jobs]
    tokens_BN = dalle.draw_tokens(prompts, seeds, jobs[0].order.sampling, basis, watch)
    log_p = dalle.score(tokens_BN, prompts).tolist()
    images = dalle.images(tokens_BN)
    return [Candidate(i, s, None, p, t) for i, s, p, t in zip(images, seeds, log_p, tokens_BN.cpu(), strict=True)]


class _Watcher:
    """Counts tokens as they come."""

    def __init__(self, progress: Progress):
        self.progress, self.first, self.known = progress, 0, 0

    def __call__(self, half: "HalfDrawn") -> None:
        if half.first != self.first:  # others have begun
            self.first, self.known = half.first, 0
        self.progress.advance((half.num_known - self.known) * len(half.tokens_BN))
        self.known = half.num_known


def ranked(clip: "ClipPipeline | None", prompt: str, candidates: list[Candidate]) -> list[Candidate]:
    """With scores and the best first, where there are a CLIP and a prompt to tell."""
    if clip is None or not prompt:
        return candidates
    from calligram.eval.rerank import rerank

    order, scores = rerank(clip, prompt, [candidate.image for candidate in candidates])
    return [replace(candidates[i], score=float(scores[i])) for i in order]
