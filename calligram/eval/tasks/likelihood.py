"""How surprised a DALL-E is by pictures that it has not seen, given their captions.

# B pictures, T text tokens, N image tokens
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from calligram.data.dataset import Shards
from calligram.eval.estimate import mean
from calligram.eval.sheet import SheetRow, row_sheet
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.pictures import to_image
from calligram.progress import track

BATCH = 100
MAX_PICTURES = 1000
SHOWN = 6


class Likelihood(EvalTask):
    """Validation bits per image token: −log₂ p(token | caption, tokens before it)."""

    name = "likelihood"
    needs = ("dalle",)

    @torch.inference_mode()
    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        dalle = models.dalle
        assert dalle is not None
        shards, size = Shards(data, config.split), dalle.image_tokenizer.config.image_size
        count = min(len(shards), config.max_samples, MAX_PICTURES)
        parts, captions = [], []
        for start in track(range(0, count, BATCH), "score pictures"):
            records = [shards[i] for i in range(start, min(count, start + BATCH))]
            images = torch.stack([r.square(size) for r in records])
            tokens_BN = dalle.image_tokenizer.encode(images.to(dalle.device))
            text_BT = dalle.text_tokenizer([r.captions[0] for r in records]).to(dalle.device)
            _, logits = dalle.model(text_BT, tokens_BN)
            nats_BN = F.cross_entropy(logits.transpose(1, 2).float(), tokens_BN, reduction="none")
            parts.append(nats_BN.double().sum(1).cpu())
            captions += [r.captions[0] for r in records]
        bits_B = torch.cat(parts) / math.log(2)
        yield "dalle.bits_per_token", mean(bits_B / dalle.model.num_image_tokens)
        yield "dalle.bits_per_picture", mean(bits_B)
        yield "dalle.bits_per_picture.extremes", extremes(bits_B, shards, captions, size)


def extremes(bits_B: Tensor, shards: Shards, captions: Sequence[str], size: int) -> Image.Image:
    """The pictures that surprised least, and those that surprised most."""
    order = bits_B.argsort(stable=True).tolist()
    rows = (("least surprising", order[:SHOWN]), ("most surprising", order[::-1][:SHOWN]))
    return row_sheet(
        [
            SheetRow(
                title,
                [to_image(shards.read_square(*shards.locate(i), size)) for i in chosen],
                [f"{bits_B[i]:.0f} bits: {captions[i]}" for i in chosen],
            )
            for title, chosen in rows
        ]
    )
