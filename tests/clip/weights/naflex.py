"""Pictures of any size through Hugging Face's Siglip2Model and its processor, and through ours."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import Siglip2Config, Siglip2ImageProcessor

from calligram.clip.zero_shot import ClipPipeline
from tests.clip.weights.peers import relative

SIZES = [(64, 48), (300, 41), (20, 20), (33, 170), (500, 375), (7, 9)]


def photographs() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    small = [Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)) for _ in SIZES]
    return [image.resize(size, Image.Resampling.BICUBIC) for image, size in zip(small, SIZES, strict=True)]


def processor(config: Siglip2Config, max_patches: int, **options) -> Siglip2ImageProcessor:
    return Siglip2ImageProcessor(patch_size=config.vision_config.patch_size, max_num_patches=max_patches, **options)


@torch.no_grad()
def their_answers(theirs: nn.Module, max_patches: int, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    inputs = processor(theirs.config, max_patches)(photographs(), return_tensors="pt")
    out = theirs(input_ids=text, **inputs)
    assert torch.pdist(out.image_embeds).min() > 1e-3, "pictures that all look alike would test nothing"
    assert torch.pdist(out.text_embeds).min() > 1e-3
    return out.image_embeds, out.text_embeds, out.logits_per_image


@torch.no_grad()
def native_differences(
    clip: ClipPipeline, theirs: nn.Module, max_patches: int, text: Tensor
) -> tuple[float, float, float]:
    """Of image features, text features and logits, relative; each side prepares the pictures itself."""
    image, words = clip.embed_images(photographs()), clip.model.encode_text(text)
    logits = clip.model.scale() * image @ words.T + clip.model.logit_bias
    expected = their_answers(theirs, max_patches, text)
    return tuple(relative(x, y) for x, y in zip((image, words, logits), expected, strict=True))
