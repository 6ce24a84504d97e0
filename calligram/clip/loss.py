"""The contrastive loss.

# B pictures of this process, G texts of all processes, E embedding
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(image_BE: Tensor, text_GE: Tensor, scale: Tensor, positive_BG: Tensor) -> Tensor:
    """InfoNCE of each row of ``scale · image · textᵀ`` (arXiv 1807.03748), with any number of positives.

    ``positive_BG`` is true where picture and text belong together. Each positive is set against the row's
    negatives alone, −log(e^p / (e^p + Σ e^n)), and a row's loss is the mean over its positives: positives
    do not compete with each other, as they do under a target that is uniform over them. With one
    positive a row this is CLIP's loss in one direction.
    """
    # out of autocast: bf16 has 8 bits, which at a scale of 100 would round the logits to halves
    with torch.autocast(image_BE.device.type, enabled=False):
        logits_BG = scale * image_BE @ text_GE.T
        lowest = torch.finfo(logits_BG.dtype).min  # −inf would make the gradient of a row without negatives nan
        negatives_B1 = logits_BG.masked_fill(positive_BG, lowest).logsumexp(1, keepdim=True)
        losses_BG = F.softplus(negatives_B1 - logits_BG).masked_fill(~positive_BG, 0)
        return (losses_BG.sum(1) / positive_BG.sum(1)).mean()
