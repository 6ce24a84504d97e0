"""Zero-shot classification (arXiv 2103.00020): which of the class names does the picture match best?

# B pictures, C classes
"""

from collections.abc import Iterator
from pathlib import Path

from calligram.data.manifest import Manifest
from calligram.eval.classification import classification
from calligram.eval.confusion import confusion_picture
from calligram.eval.features import embed_classed, embed_classes
from calligram.eval.task import EvalConfig, EvalTask, Models, Value, has_classes


class ZeroShot(EvalTask):
    """Accuracy, recall of the classes and calibration (arXiv 1706.04599) on pictures with a class.

    Prompts and names are the manifest's; probabilities are those of the model's own temperature.
    """

    name = "zero-shot"
    needs = ("clip",)

    def applies_to(self, data: Manifest, config: EvalConfig) -> bool:
        return has_classes(data, config)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        clip = models.clip
        assert clip is not None
        manifest = Manifest.load(data)
        label_CE = embed_classes(clip, manifest)
        for split, prefix in ((config.split, ""), (config.holdout_split, "holdout_")):
            if not manifest.splits.get(split):
                continue
            image_BE, class_B = embed_classed(clip, data, split, config.max_samples)
            if len(class_B) == 0:
                continue
            score_BC = image_BE @ label_CE.T
            for name, value in classification(score_BC, class_B, float(clip.model.scale().detach())):
                yield f"clip.zero_shot.{prefix}{name}", value
            guess_B = score_BC.argmax(1)
            yield f"clip.zero_shot.{prefix}confusion", confusion_picture(guess_B, class_B, manifest.class_names)
            yield f"clip.zero_shot.{prefix}num_samples", len(class_B)
