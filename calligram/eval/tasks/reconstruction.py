"""How much of a picture its tokens keep.

# B pictures, N tokens of a picture, V vocabulary
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from calligram.data.dataset import Shards
from calligram.eval.task import EvalConfig, EvalTask, Models
from calligram.nn.image import to_float
from calligram.progress import track

BATCH = 100


class Reconstruction(EvalTask):
    """PSNR of the mean squared error, SSIM, and how evenly the vocabulary is used."""

    name = "reconstruction"
    needs = ("tokenizer",)

    @torch.inference_mode()
    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, float]]:
        tokenizer = models.tokenizer
        assert tokenizer is not None
        device = next(tokenizer.parameters()).device
        shards = Shards(data, config.split)
        count = min(len(shards), config.max_samples)
        # of several processes that train, one may be asked alone: nothing here waits for the others
        psnr = PeakSignalNoiseRatio(data_range=1.0, sync_on_compute=False).to(device)
        ssim = StructuralSimilarityIndexMeasure(data_range=1.0, sync_on_compute=False).to(device)
        uses_V = torch.zeros(tokenizer.vocab_size, dtype=torch.long, device=device)
        for start in track(range(0, count, BATCH), "reconstruct pictures"):
            numbers = range(start, min(count, start + BATCH))
            images_uint8 = torch.stack([shards[i].square(tokenizer.config.image_size) for i in numbers])
            images = to_float(images_uint8).to(device)
            ids_BN = tokenizer.encode(images)
            decoded = tokenizer.decode(ids_BN)
            psnr.update(decoded, images)
            ssim.update(decoded, images)
            uses_V += torch.bincount(ids_BN.flatten(), minlength=tokenizer.vocab_size)
        share = uses_V / uses_V.sum()
        yield "tokenizer.psnr_db", psnr.compute().item()
        yield "tokenizer.ssim", torch.as_tensor(ssim.compute()).item()
        yield "tokenizer.usage", float((uses_V > 0).float().mean())
        yield "tokenizer.perplexity", float(torch.special.entr(share).sum().exp())
        yield "tokenizer.tokens_per_picture", tokenizer.grid**2
        yield "tokenizer.num_samples", count
