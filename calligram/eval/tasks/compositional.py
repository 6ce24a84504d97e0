"""Right caption against a changed one, kind by kind, as SugarCrepe asks (arXiv 2306.14610). Chance is one half.

For drawings of shapes colours or sizes change places, a relation is reversed, an object, a colour or a number replaced;
for other pictures with a class its name is replaced by a related one, or a colour in it.

# B pictures, Q questions
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from calligram.data.manifest import Manifest
from calligram.eval.estimate import mean, mean_over_groups
from calligram.eval.features import embed_rows, read_all_words
from calligram.eval.swaps import Relatives, swaps
from calligram.eval.task import EvalConfig, EvalTask, Models, Value

NUM_PICTURES = 1000


class Compositional(EvalTask):
    """Share of questions of each kind whose right caption is nearer to the picture, over the first 1,000 pictures."""

    name = "compositional"
    needs = ("clip",)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        clip = models.clip
        assert clip is not None
        words = read_all_words(clip, data, config.split, min(config.max_samples, NUM_PICTURES))
        relatives = Relatives(Manifest.load(data).class_names, [meta for _, meta in words])
        asked = [
            (row, each)
            for row, (captions, meta) in enumerate(words)
            for each in swaps(captions, meta, relatives, np.random.default_rng([config.seed, row]))
        ]
        if not asked:
            return
        rows = torch.tensor([row for row, _ in asked])
        image_BE = embed_rows(clip, data, config.split, range(len(words))).image_BE
        right_QE = clip.embed_texts([each.right for _, each in asked], strict=False)
        wrong_QE = clip.embed_texts([each.wrong for _, each in asked], strict=False)
        verdicts = (image_BE[rows.to(image_BE.device)] * (right_QE - wrong_QE)).sum(1) > 0  # of ties none counts
        kinds: dict[str, list[bool]] = defaultdict(list)
        for (_, each), verdict in zip(asked, verdicts.tolist(), strict=True):
            kinds[each.kind].append(verdict)
        for kind, found in sorted(kinds.items()):
            yield f"clip.compositional.{kind}", mean(found)
        # kinds count alike, however many questions they have, as in SugarCrepe's tables
        by_kind = mean_over_groups(verdicts.tolist(), [each.kind for _, each in asked])
        yield "clip.compositional.mean_over_kinds", by_kind
        yield "clip.compositional.num_questions", len(asked)
