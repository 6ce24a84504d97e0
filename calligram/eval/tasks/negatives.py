"""Does CLIP read more than a bag of words? A picture's caption against one that resembles it and is false.

The test of ARO (arXiv 2210.01936), for data that has such captions. Half is what a coin toss gives.

# B pictures
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from calligram.eval.estimate import mean
from calligram.eval.features import embed_split
from calligram.eval.task import EvalConfig, EvalTask, Models, Value

NUM_PAIRS = 1000


class Negatives(EvalTask):
    """Share of the first 1,000 pictures that are nearer to their caption than to its negative, and of each kind."""

    name = "negatives"
    needs = ("clip",)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        clip = models.clip
        assert clip is not None
        if not embed_split(clip, data, config.split, 1).metas[0].get("negatives"):
            return
        found = embed_split(clip, data, config.split, min(config.max_samples, NUM_PAIRS))
        said = list(zip(found.captions, found.metas, strict=True))
        rows = [row for row, (captions, meta) in enumerate(said) if captions and meta.get("negatives")]
        # captions in turn: the first one says most
        right = [said[row][0][row % len(said[row][0])] for row in rows]
        wrong = [said[row][1]["negatives"][row % len(said[row][0])] for row in rows]
        nearer_BE = clip.embed_texts(right, strict=False) - clip.embed_texts(wrong, strict=False)
        verdicts = ((found.image_BE[rows] * nearer_BE).sum(-1) > 0).tolist()

        groups: dict[str, list[bool]] = defaultdict(list)
        for row, verdict in zip(rows, verdicts, strict=True):
            groups["accuracy"].append(verdict)
            if "kind" in (meta := said[row][1]):
                groups[f"kind_{meta['kind'].replace('-', '_')}"].append(verdict)
        for name, each in groups.items():
            yield f"clip.negatives.{name}", mean(each)
        yield "clip.negatives.num_samples", len(rows)
