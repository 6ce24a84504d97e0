"""What training CLIP minimises.

# B pictures of this process, C texts of this process: those of the pictures and then false ones; T tokens, E embedding
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from calligram.clip.losses.config import LossConfig, SigmoidConfig, SoftmaxConfig
from calligram.clip.losses.labels import fingerprints
from calligram.clip.losses.ring import ALONE, Ring
from calligram.clip.losses.sigmoid import sigmoid_loss
from calligram.clip.losses.softmax import softmax_loss
from calligram.clip.model import MAX_LOGIT_SCALE, Clip
from calligram.clip.teacher import Teacher

OF_THE_PAPER = SoftmaxConfig()


class ClipTask(nn.Module):
    """Batch {"image", "text"} → the loss over all pairs of them, equal captions counting as positives.

    "image" is (B, 3, H, W), or a list of pictures (3, H, W) of several sizes.

    "negative_text", where the batch has it, are captions that resemble those in "text" and are false: hard negatives
    (arXiv 2210.01936), among which a picture must find its caption, too.

    A picture's positives are all texts with the same token ids: in a batch with few distinct captions
    CLIP's own loss, one right text a picture, would push every picture away from most copies of its caption.
    ``loss`` may ask for that all the same. Along the ``ring`` the texts of all processes come by.

    With a ``teacher`` its loss, over the true pairs alone, is added to the other.
    """

    def __init__(
        self, model: Clip, loss: LossConfig = OF_THE_PAPER, ring: Ring = ALONE, teacher: Teacher | None = None
    ):
        super().__init__()
        self.model = model
        self.loss = loss
        self.ring = ring
        self.teacher = teacher

    def forward(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.compare(self.embed(batch) | self.observe(batch))

    def embed(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """What the loss compares; a part of a batch at a time is embedded as it would be in the whole."""
        ids, wrong_ids = batch["text"], batch.get("negative_text", batch["text"][:0])
        # a text that stands several times in the batch is read once
        distinct_ids, row_C = torch.cat([ids, wrong_ids]).unique(dim=0, return_inverse=True)
        sizes, label_C = [len(ids), len(wrong_ids)], fingerprints(distinct_ids)[row_C]
        text, wrong_text = self.model.encode_text(distinct_ids)[row_C].split(sizes)
        label, wrong_label = label_C.split(sizes)
        features = {"image": self.model.encode_image(batch["image"]), "text": text, "label": label}
        return features | ({"wrong_text": wrong_text, "wrong_label": wrong_label} if len(wrong_ids) else {})

    def observe(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """What the loss compares besides, of which no weight here learns."""
        return self.teacher.embed(batch) if self.teacher is not None else {}

    def compare(self, features: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a whole batch, and metrics."""
        image_BE = features["image"]
        text_CE = torch.cat([features[name] for name in ("text", "wrong_text") if name in features])
        label_C = torch.cat([features[name] for name in ("label", "wrong_label") if name in features])
        if self.loss.positives == "own":
            label_C = self._numbers(label_C)

        scale = self.model.scale()
        metrics = {"logit_scale": scale.detach()}
        if isinstance(self.loss, SigmoidConfig):
            bias = self.model.logit_bias
            assert bias is not None, "the config of the run sees to it"
            metrics["logit_bias"] = bias.detach().clone()
            loss, accuracy = sigmoid_loss(image_BE, text_CE, scale, bias, label_C, self.ring)
        else:
            loss, accuracy = softmax_loss(image_BE, text_CE, scale, label_C, self.ring)
        if self.teacher is not None:
            distance = self.teacher.loss(image_BE, features["text"], scale, features, self.ring)
            loss, metrics["distillation_loss"] = loss + self.teacher.weight * distance, distance.detach()
        return loss, {"batch_accuracy": accuracy.float(), **metrics}

    def _numbers(self, label_C: Tensor) -> Tensor:
        """Labels of which no two are the same in all processes."""
        return torch.arange(len(label_C), device=label_C.device) + self.ring.rank * len(label_C)

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the temperature where the paper keeps it."""
        self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
