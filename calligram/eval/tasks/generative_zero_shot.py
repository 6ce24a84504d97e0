"""Zero-shot classification without a classifier: which class's words would most likely have led to the picture?

p(class | picture) goes with p(picture | class) by Bayes, where all classes are equally likely. CLIP's answers to the
same pictures stand beside it.

# B pictures, N image tokens, C classes
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from calligram.clip.zero_shot import ClipPipeline
from calligram.dalle.classifier import GenerativeClassifier
from calligram.data.dataset import Record, Shards
from calligram.data.manifest import Manifest
from calligram.eval.estimate import mean
from calligram.eval.pictures import read_picture
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.progress import Progress

MAX_CLASSES = 100  # each costs a pass of the decoder a picture
BATCH = 32


class GenerativeZeroShot(EvalTask):
    """Top-1 and top-5 accuracy by log p(picture | class), on as many pictures as captions are drawn elsewhere.

    Words are the first template's: with each further one the passes would grow.
    """

    name = "generative-zero-shot"
    needs = ("dalle",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return config.split in data.splits and 1 < len(data.class_names) <= MAX_CLASSES

    @torch.inference_mode()
    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        dalle = models.dalle
        assert dalle is not None
        manifest = Manifest.load(data)
        templates = manifest.templates[:1] or ("{}",)
        classifier = GenerativeClassifier(dalle.model, dalle.text_tokenizer, manifest.class_names, templates)
        for split, prefix in ((config.split, ""), (config.holdout_split, "holdout_")):
            if not manifest.splits.get(split):
                continue
            records = classed(Shards(data, split), min(config.num_captions, config.max_samples))
            if not records:
                continue
            class_B = torch.tensor([int(record.meta["class"]) for record in records])
            size = dalle.image_tokenizer.config.image_size
            tokens_BN = dalle.encode(torch.stack([record.square(size) for record in records]))
            scores_BC = likelihoods(classifier, tokens_BN, f"ask DALL-E about {split} pictures")
            yield from accuracies(scores_BC, class_B, f"dalle.generative_zero_shot.{prefix}")
            yield f"dalle.generative_zero_shot.{prefix}num_samples", len(records)
            if models.clip is not None:
                scores_BC = clip_scores(models.clip, records, manifest)
                yield from accuracies(scores_BC, class_B, f"dalle.generative_zero_shot.{prefix}clip_")


def classed(shards: Shards, number: int) -> list[Record]:
    """The first pictures that have a class."""
    found: list[Record] = []
    for i in range(len(shards)):
        if len(found) == number:
            break
        if "class" in (record := shards[i]).meta:
            found.append(record)
    return found


def likelihoods(classifier: GenerativeClassifier, tokens_BN: Tensor, title: str) -> Tensor:
    """log p of each picture under each class, (B, C)."""
    parts = []
    with Progress(title, len(tokens_BN)) as progress:
        for part in tokens_BN.split(BATCH):
            parts.append(classifier.log_likelihoods(part).cpu())
            progress.advance(len(part))
    return torch.cat(parts)


def clip_scores(clip: ClipPipeline, records: list[Record], manifest: Manifest) -> Tensor:
    """Similarity of each picture to each class, (B, C), with all templates, as the task zero-shot has it."""
    label_CE = clip.embed_labels(manifest.class_names, manifest.templates)
    return (clip.embed_prepared([read_picture(record, clip) for record in records]) @ label_CE.T).cpu()


def accuracies(scores_BC: Tensor, class_B: Tensor, prefix: str) -> Iterator[tuple[str, Value]]:
    hits = scores_BC.topk(min(5, scores_BC.shape[1])).indices == class_B[:, None]
    yield f"{prefix}top1", mean(hits[:, 0])
    yield f"{prefix}top5", mean(hits.any(1))
