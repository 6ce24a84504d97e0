"""What training CLIP minimises.

# B batch of this process, G batch of all processes, T tokens
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from calligram.clip.loss import info_nce
from calligram.clip.model import MAX_LOGIT_SCALE, Clip


class ClipTask(nn.Module):
    """Batch {"image", "text"} → the mean of both directions of InfoNCE, equal captions counting as positives.

    A picture's positives are all texts with the same token ids: in a batch with few distinct captions
    CLIP's own loss, one right text a picture, would push every picture away from most copies of its caption.
    ``gather`` collects a tensor from all processes in the order of their ranks, with gradients.
    """

    def __init__(self, model: Clip, gather: Callable[[Tensor], Tensor] = lambda x: x):
        super().__init__()
        self.model = model
        self.gather = gather

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        # a caption that stands several times in the batch is read once
        distinct_ids, row_B = batch["text"].unique(dim=0, return_inverse=True)
        image, text = self.model.encode_image(batch["image"]), self.model.encode_text(distinct_ids)[row_B]
        all_image, all_text, all_ids = self.gather(image), self.gather(text), self.gather(batch["text"])
        same_BG = (batch["text"][:, None] == all_ids[None]).all(-1)
        scale = self.model.scale()
        loss = (info_nce(image, all_text, scale, same_BG) + info_nce(text, all_image, scale, same_BG)) / 2
        with torch.no_grad():
            best_B = (image @ all_text.T).argmax(1, keepdim=True)
            accuracy = same_BG.gather(1, best_B).float().mean()
        return loss, {"batch_accuracy": accuracy, "logit_scale": scale.detach()}

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the temperature where the paper keeps it."""
        self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
