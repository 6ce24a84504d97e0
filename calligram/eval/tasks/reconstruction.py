"""How much of a picture its tokens keep.

# B pictures, N tokens of a picture, V vocabulary
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from calligram.data.dataset import Shards
from calligram.eval.estimate import Estimate, mean
from calligram.eval.sheet import SheetRow, row_sheet
from calligram.eval.task import EvalConfig, EvalTask, Models, Value
from calligram.nn.image import to_float, to_uint8
from calligram.pictures import to_image
from calligram.progress import track

BATCH = 100
SHOWN = 8  # pictures in the report


class Reconstruction(EvalTask):
    """PSNR of the mean squared error, SSIM, and how evenly the vocabulary is used.

    ``usage`` is the share of codes that any picture takes, ``dead_codes`` the number of the others; both depend on how
    many pictures are asked. ``perplexity`` is the number of codes that would carry as much if all came equally often.
    ``bits_per_picture`` is what its tokens take at a fixed length, ``entropy_bits_per_picture`` what they take where
    each code's length follows how often it comes.
    """

    name = "reconstruction"
    needs = ("tokenizer",)

    @torch.inference_mode()
    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        tokenizer = models.tokenizer
        assert tokenizer is not None
        device = next(tokenizer.parameters()).device
        shards = Shards(data, config.split)
        count = min(len(shards), config.max_samples)
        errors, likenesses, shown = [], [], []
        uses_V = torch.zeros(tokenizer.vocab_size, dtype=torch.long, device=device)
        for start in track(range(0, count, BATCH), "reconstruct pictures"):
            numbers = range(start, min(count, start + BATCH))
            images_uint8 = torch.stack([shards[i].square(tokenizer.config.image_size) for i in numbers])
            images = to_float(images_uint8).to(device)
            ids_BN = tokenizer.encode(images)
            decoded = tokenizer.decode(ids_BN)
            errors.append((decoded - images).square().double().mean((1, 2, 3)).cpu())
            likenesses.append(ssim(decoded, images).double().cpu())
            uses_V += torch.bincount(ids_BN.flatten(), minlength=tokenizer.vocab_size)
            shown += [] if shown else [images_uint8[:SHOWN], to_uint8(decoded[:SHOWN]).cpu()]
        yield "tokenizer.psnr_db", psnr(torch.cat(errors))
        yield "tokenizer.ssim", mean(torch.cat(likenesses))
        yield from code_figures(uses_V.cpu(), tokenizer.grid**2)
        yield "tokenizer.num_samples", count
        yield "tokenizer.reconstructions", reconstructions(shown, torch.cat(errors).tolist())


def psnr(errors_B: Tensor) -> Estimate:
    """Decibels of the mean squared error, with its interval; no picture has an infinite one, as a mean of dB would."""
    error = mean(errors_B)
    return Estimate(decibels(error.value), decibels(error.high), decibels(error.low), error.count)


def decibels(error: float) -> float:
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(decoded: Tensor, images: Tensor) -> Tensor:
    """Of each picture, (B,)."""
    found = structural_similarity_index_measure(decoded, images, data_range=1.0, reduction="none")
    assert isinstance(found, Tensor)
    return found.reshape(len(images))


def code_figures(uses_V: Tensor, tokens_per_picture: int) -> Iterator[tuple[str, float]]:
    share_V = uses_V / uses_V.sum()
    entropy = float(torch.special.entr(share_V).sum())  # nats a token
    yield "tokenizer.usage", float((uses_V > 0).float().mean())
    yield "tokenizer.dead_codes", int((uses_V == 0).sum())
    yield "tokenizer.perplexity", math.exp(entropy)
    yield "tokenizer.tokens_per_picture", tokens_per_picture
    yield "tokenizer.bits_per_picture", tokens_per_picture * math.log2(len(uses_V))
    yield "tokenizer.entropy_bits_per_picture", tokens_per_picture * entropy / math.log(2)


def reconstructions(shown: Sequence[Tensor], errors: Sequence[float]) -> Image.Image:
    """Pictures above what came back of them."""
    originals, rebuilt = ([to_image(image) for image in images] for images in shown)
    words = [f"{decibels(error):.1f} dB" for error in errors[: len(rebuilt)]]
    return row_sheet(
        [SheetRow("the pictures", originals, [""] * len(originals)), SheetRow("after their tokens", rebuilt, words)]
    )
