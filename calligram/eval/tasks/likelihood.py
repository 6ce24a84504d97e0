"""How surprised a DALL-E is by pictures that it has not seen, given their captions.

# B pictures, T text tokens, N image tokens
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from calligram.data.dataset import Shards
from calligram.eval.task import EvalConfig, EvalTask, Models
from calligram.progress import track

BATCH = 100
MAX_PICTURES = 1000


class Likelihood(EvalTask):
    """Validation bits per image token: −log₂ p(token | caption, tokens before it)."""

    name = "likelihood"
    needs = ("dalle",)

    @torch.inference_mode()
    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, float]]:
        dalle = models.dalle
        assert dalle is not None
        shards = Shards(data, config.split)
        count = min(len(shards), config.max_samples, MAX_PICTURES)
        nats = torch.zeros((), dtype=torch.float64)
        for start in track(range(0, count, BATCH), "score pictures"):
            records = [shards[i] for i in range(start, min(count, start + BATCH))]
            images = torch.stack([r.square(dalle.image_tokenizer.config.image_size) for r in records])
            tokens_BN = dalle.image_tokenizer.encode(images.to(dalle.device))
            text_BT = dalle.text_tokenizer([r.captions[0] for r in records]).to(dalle.device)
            _, logits = dalle.model(text_BT, tokens_BN)
            nats += F.cross_entropy(logits.flatten(0, 1).float(), tokens_BN.flatten(), reduction="sum").cpu()
        num_tokens = count * dalle.model.num_image_tokens
        yield "dalle.bits_per_token", float(nats) / num_tokens / math.log(2)
        yield "dalle.bits_per_picture", float(nats) / count / math.log(2)
