"""Image GPT's test (Chen et al., ICML 2020): has a model that learnt to draw also learnt to see?

A linear classifier on what the decoder makes of a picture's tokens, layer by layer.

# L layers, B pictures, N image tokens, D width
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from calligram.dalle.draw import DallePipeline
from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.eval.decoder_features import layer_means
from calligram.eval.drawings import spread
from calligram.eval.estimate import mean
from calligram.eval.sets import read
from calligram.eval.task import EvalConfig, EvalTask, Models, Value

MAX_CLASSES = 100  # a solver's step takes as long as there are classes
VALIDATION = 0.2  # of the training pictures: they choose the layer
STEPS = 100  # of the solver at most


class DecoderProbe(EvalTask):
    """Accuracy of logistic regression on the best layer's activations, averaged over image tokens, without a caption.

    A fifth of ``num_probe_pictures`` training pictures chooses the layer; then all of them train the classifier.
    """

    name = "decoder-probe"
    needs = ("dalle",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        has_splits = bool(data.splits.get(config.split) and data.splits.get(config.train_split))
        return has_splits and 1 < len(data.class_names) <= MAX_CLASSES

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        assert models.dalle is not None
        train_LBD, train_B = embed(models.dalle, Shards(data, config.train_split), config.num_probe_pictures)
        test_LBD, test_B = embed(models.dalle, Shards(data, config.split), config.num_reference)
        held = np.arange(len(train_B)) % round(1 / VALIDATION) == 0
        if len(set(train_B[~held])) < 2 or not len(test_B):
            return
        found = [accuracy(x[~held], train_B[~held], x[held], train_B[held]).mean() for x in train_LBD]
        best = int(np.argmax(found))
        yield "dalle.decoder_probe.top1", mean(accuracy(train_LBD[best], train_B, test_LBD[best], test_B))
        yield "dalle.decoder_probe.best_layer", best + 1
        for number, share in enumerate(found, start=1):
            yield f"dalle.decoder_probe.validation_layer_{number}", float(share)
        yield "dalle.decoder_probe.num_training_pictures", len(train_B)


def embed(dalle: DallePipeline, shards: Shards, number: int) -> tuple[NDArray, NDArray]:
    """Features (L, B, D) and classes (B,) of pictures that have one, from all over the split."""
    metas = {i: shards.read_words(*shards.locate(i))[1] for i in range(len(shards))}
    class_of = {i: int(meta["class"]) for i, meta in metas.items() if "class" in meta}
    classed = list(class_of)
    chosen = [classed[place] for place in spread(len(classed), number)]
    size = dalle.image_tokenizer.config.image_size
    batches = read(shards, chosen, size, f"read {shards.split} pictures with the decoder")
    features = [layer_means(dalle, dalle.encode(images)).cpu() for images in batches]
    classes = np.array([class_of[i] for i in chosen])
    return (torch.cat(features, 1).numpy() if features else np.zeros((0, 0, 0))), classes


def accuracy(train_BD: NDArray, train_B: NDArray, test_BD: NDArray, test_B: NDArray) -> NDArray:
    """Whether each test picture is classified rightly, (B,)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=STEPS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of steps is bounded on purpose
        model.fit(train_BD, train_B)
    return model.predict(test_BD) == test_B
