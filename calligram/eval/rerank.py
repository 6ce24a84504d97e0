"""CLIP chooses among what DALL-E drew: the pictures that fit a sentence best come first (arXiv 2102.12092).

# B pictures, E embedding
"""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from calligram.clip.zero_shot import ClipPipeline
from calligram.pictures import to_image


def clip_scores(clip: ClipPipeline, images: Tensor | Sequence[Image.Image], prompts: str | Sequence[str]) -> Tensor:
    """Cosine similarity (B,) of each picture to its prompt, or of all to the one.

    ``images`` is uint8 (B, 3, H, W) or a list; another size than the model's is scaled as in training.
    """
    texts = [prompts] * len(images) if isinstance(prompts, str) else list(prompts)
    if len(texts) != len(images):
        raise ValueError(f"{len(images)} pictures for {len(texts)} prompts: give one prompt a picture, or one for all")
    config = clip.model.config
    size = config.image_size
    if isinstance(images, Tensor) and (config.preprocess.is_native or images.shape[-2:] != (size, size)):
        images = [to_image(image) for image in images]
    distinct = list(dict.fromkeys(texts))
    row_of = {text: row for row, text in enumerate(distinct)}
    text_BE = clip.embed_texts(distinct)[[row_of[text] for text in texts]]
    return (clip.embed_images(images) * text_BE).sum(-1)


def rerank(clip: ClipPipeline, prompt: str, images: Tensor | Sequence[Image.Image]) -> tuple[list[int], Tensor]:
    """Numbers of the pictures, the best first, and the score of each picture in the order they came, (B,)."""
    scores_B = clip_scores(clip, images, prompt).cpu()
    return torch.argsort(scores_B, descending=True, stable=True).tolist(), scores_B
