"""The contrastive loss.

# B pictures of this process, G texts of all processes, E embedding
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(image_BE: Tensor, text_GE: Tensor, scale: Tensor, positive_BG: Tensor) -> Tensor:
    """Cross-entropy of each row of ``scale · image · textᵀ`` against its positives (arXiv 1807.03748).

    ``positive_BG`` is true where picture and text belong together; a row's target is uniform over its
    positives (supervised contrastive, arXiv 2004.11362, with the mean outside the logarithm). With one
    positive a row this is CLIP's loss in one direction.
    """
    # out of autocast: bf16 has 8 bits, which at a scale of 100 would round the logits to halves
    with torch.autocast(image_BE.device.type, enabled=False):
        logits_BG = scale * image_BE @ text_GE.T
        targets_BG = positive_BG.to(logits_BG.dtype)
        return F.cross_entropy(logits_BG, targets_BG / targets_BG.sum(1, keepdim=True))
