"""Retrieval both ways: a picture's caption among all captions, and a caption's picture among all pictures.

# B pictures, and as many captions
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from calligram.data.dataset import Shards
from calligram.eval.pictures import read_picture
from calligram.eval.task import EvalConfig, EvalTask, Models
from calligram.progress import track

NUM_PAIRS = 1000
RANKS = (1, 5, 10)


class Retrieval(EvalTask):
    """Recall@k over the first 1,000 pictures; any of the pictures with the same caption counts as right."""

    name = "retrieval"
    needs = ("clip",)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, float]]:
        assert models.clip is not None
        clip = models.clip
        shards = Shards(data, config.split)
        count = min(len(shards), config.max_samples, NUM_PAIRS)
        records = [shards[i] for i in track(range(count), "read pairs")]
        captions = [record.captions[0] for record in records]
        image_BE = models.clip.embed_prepared([read_picture(record, clip) for record in records])
        text_BE = models.clip.embed_texts(captions, strict=False)  # cut where too long, as in training
        ids = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
        id_B = torch.tensor([ids[caption] for caption in captions], device=image_BE.device)
        for name, similarity in (("text", image_BE @ text_BE.T), ("image", text_BE @ image_BE.T)):
            hits = id_B[similarity.topk(min(max(RANKS), count)).indices] == id_B[:, None]
            for k in RANKS:
                yield f"clip.retrieval.{name}_recall_at_{k}", float(hits[:, :k].any(1).float().mean())
        yield "clip.retrieval.num_samples", count
