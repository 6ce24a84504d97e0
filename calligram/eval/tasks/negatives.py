"""Does CLIP read more than a bag of words? A picture's caption against one that resembles it and is false.

The test of ARO (arXiv 2210.01936), for data that has such captions. Half is what a coin toss gives.

# B pictures
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from calligram.data.dataset import Shards
from calligram.eval.pictures import read_picture
from calligram.eval.task import EvalConfig, EvalTask, Models
from calligram.progress import track

NUM_PAIRS = 1000


class Negatives(EvalTask):
    """Share of the first 1,000 pictures that are nearer to their caption than to its negative, and of each kind."""

    name = "negatives"
    needs = ("clip",)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, float]]:
        assert models.clip is not None
        clip = models.clip
        shards = Shards(data, config.split)
        if not shards[0].negatives:
            return
        count = min(len(shards), config.max_samples, NUM_PAIRS)
        records = [shards[i] for i in track(range(count), "read negatives")]
        # captions in turn: the first one says most
        right = [record.captions[i % len(record.captions)] for i, record in enumerate(records)]
        wrong = [record.negatives[i % len(record.captions)] for i, record in enumerate(records)]
        image_BE = models.clip.embed_prepared([read_picture(record, clip) for record in records])
        nearer_BE = models.clip.embed_texts(right, strict=False) - models.clip.embed_texts(wrong, strict=False)
        verdicts = ((image_BE * nearer_BE).sum(-1) > 0).tolist()

        groups: dict[str, list[bool]] = defaultdict(list)
        for record, verdict in zip(records, verdicts, strict=True):
            groups["accuracy"].append(verdict)
            if "kind" in record.meta:
                groups[f"kind_{record.meta['kind'].replace('-', '_')}"].append(verdict)
        for name, found in groups.items():
            yield f"clip.negatives.{name}", sum(found) / len(found)
        yield "clip.negatives.num_samples", count
