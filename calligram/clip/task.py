"""What training CLIP minimises.

# B batch of this process, G batch of all processes, C captions to choose from, T tokens
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from calligram.clip.loss import info_nce
from calligram.clip.model import MAX_LOGIT_SCALE, Clip


class ClipTask(nn.Module):
    """Batch {"image", "text"} → the mean of both directions of InfoNCE, equal captions counting as positives.

    "negative_text", where the batch has it, are captions that resemble those in "text" and are false: hard negatives
    (arXiv 2210.01936), among which a picture must find its caption, too.

    A picture's positives are all texts with the same token ids: in a batch with few distinct captions
    CLIP's own loss, one right text a picture, would push every picture away from most copies of its caption.
    ``gather`` collects a tensor from all processes in the order of their ranks, with gradients.
    """

    def __init__(self, model: Clip, gather: Callable[[Tensor], Tensor] = lambda x: x):
        super().__init__()
        self.model = model
        self.gather = gather

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.compare(self.embed(batch))

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the loss compares; a part of a batch at a time is embedded as it would be in the whole."""
        ids, wrong_ids = batch["text"], batch.get("negative_text", batch["text"][:0])
        # a text that stands several times in the batch is read once
        distinct_ids, row = torch.cat([ids, wrong_ids]).unique(dim=0, return_inverse=True)
        text, wrong_text = self.model.encode_text(distinct_ids)[row].split([len(ids), len(wrong_ids)])
        features = {"image": self.model.encode_image(batch["image"]), "text": text, "ids": ids}
        return features | ({"wrong_text": wrong_text, "wrong_ids": wrong_ids} if len(wrong_ids) else {})

    def compare(self, features: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a whole batch, and metrics."""
        image, text, ids = features["image"], features["text"], features["ids"]
        all_image, all_text, all_ids = self.gather(image), self.gather(text), self.gather(ids)
        choice, choice_ids = all_text, all_ids  # what a picture's caption is searched in
        if "wrong_text" in features:
            choice = torch.cat([all_text, self.gather(features["wrong_text"])])
            choice_ids = torch.cat([all_ids, self.gather(features["wrong_ids"])])
        right_BC, same_BG = _equal(ids, choice_ids), _equal(ids, all_ids)
        scale = self.model.scale()
        loss = (info_nce(image, choice, scale, right_BC) + info_nce(text, all_image, scale, same_BG)) / 2
        with torch.no_grad():
            best_B = (image @ choice.T).argmax(1, keepdim=True)
            accuracy = right_BC.gather(1, best_B).float().mean()
        return loss, {"batch_accuracy": accuracy, "logit_scale": scale.detach()}

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the temperature where the paper keeps it."""
        self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)


def _equal(ids_BT: Tensor, others_GT: Tensor) -> Tensor:
    """Which texts are the same, (B, G)."""
    return (ids_BT[:, None] == others_GT[None]).all(-1)
