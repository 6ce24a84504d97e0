"""Zero-shot classification (arXiv 2103.00020): which of the class names does the picture match best?

# B pictures, C classes
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from calligram.clip.zero_shot import ClipPipeline
from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.eval.pictures import read_picture
from calligram.eval.task import EvalConfig, EvalTask, Models
from calligram.progress import track


class ZeroShot(EvalTask):
    """Top-1 and top-5 accuracy on pictures with a class, prompts and names as the manifest gives them."""

    name = "zero-shot"
    needs = ("clip",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return config.split in data.splits and len(data.class_names) > 1

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, float]]:
        assert models.clip is not None
        manifest = Manifest.load(data)
        label_CE = models.clip.embed_labels(manifest.class_names, manifest.templates)
        for split, prefix in ((config.split, ""), (config.holdout_split, "holdout_")):
            if not manifest.splits.get(split):
                continue
            image_BE, class_B = embed_classed(models.clip, Shards(data, split), config.max_samples)
            if len(class_B) == 0:
                continue
            ranked = (image_BE @ label_CE.T).topk(min(5, len(label_CE))).indices
            hits = ranked == class_B.to(ranked.device)[:, None]
            yield f"clip.zero_shot.{prefix}top1", float(hits[:, 0].float().mean())
            yield f"clip.zero_shot.{prefix}top5", float(hits.any(1).float().mean())
            yield f"clip.zero_shot.{prefix}num_samples", len(class_B)


def embed_classed(clip: ClipPipeline, shards: Shards, max_samples: int) -> tuple[Tensor, Tensor]:
    """Vectors and classes of the pictures that have a class, up to ``max_samples`` of them."""
    class_of = classed(shards, max_samples)
    if not class_of:
        return torch.empty(0, clip.model.config.embed_dim), torch.empty(0, dtype=torch.long)
    vectors, pending = [], []
    for i in track(clip.spread.share(list(class_of)), f"embed {shards.split} pictures"):
        pending.append(read_picture(shards[i], clip))
        if len(pending) == clip.batch_size:
            vectors.append(clip.embed_prepared(pending))
            pending = []
    if pending:
        vectors.append(clip.embed_prepared(pending))
    return clip.spread.in_order(torch.cat(vectors), len(class_of)), torch.tensor(list(class_of.values()))


def classed(shards: Shards, max_samples: int) -> dict[int, int]:
    """Sample → class of the first that have one. Their words alone are read, so that all processes agree at once."""
    found: dict[int, int] = {}
    for i in range(len(shards)):
        if len(found) == max_samples:
            break
        _, meta = shards.read_words(*shards.locate(i))
        if "class" in meta:
            found[i] = int(meta["class"])
    return found
