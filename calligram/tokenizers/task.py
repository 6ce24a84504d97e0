"""What training an image tokenizer minimises.

# B batch, h w the token grid
"""

import torch
from torch import Tensor, nn

from calligram.nn.image import to_float
from calligram.tokenizers.fsq import FSQTokenizer


class ReconstructionTask(nn.Module):
    """Batch {"image"} → mean squared error plus a share of mean absolute error, which keeps edges sharp."""

    def __init__(self, model: FSQTokenizer, l1_weight: float = 0.1):
        super().__init__()
        self.model = model
        self.l1_weight = l1_weight

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        images = to_float(batch["image"])
        reconstruction, ids_Bhw = self.model(images)
        error = reconstruction - images
        mse = error.square().mean()
        with torch.no_grad():
            psnr = -10 * mse.clamp(min=1e-12).log10()
            used = torch.bincount(ids_Bhw.flatten(), minlength=self.model.vocab_size) > 0
        # in units where a typical loss is near one, so that the gradient's norm is, too
        loss = 10 * (mse + self.l1_weight * error.abs().mean())
        return loss, {"psnr_db": psnr, "batch_usage": used.float().mean()}
