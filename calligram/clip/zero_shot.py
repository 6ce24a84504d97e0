"""Classify pictures by words (arXiv 2103.00020): a class is a sentence, or the mean of several.

# B pictures, C labels, P texts, E embedding
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from calligram.clip.classifier import ALONE, Spread, label_vectors
from calligram.clip.load import load_model
from calligram.clip.model import Clip
from calligram.clip.preprocess import prepare
from calligram.clip.prompts import Descriptions, make_prompts
from calligram.nn.image import stack_images
from calligram.nn.transformer import Activation
from calligram.tokenizers.text import TextTokenizer

Images = Tensor | Sequence[Image.Image]
TOKENS_AT_ONCE = 2**15  # 128 pictures of 256


class ClipPipeline:
    """A trained CLIP with its text tokenizer: words and pictures in, vectors and probabilities out."""

    def __init__(
        self,
        model: Clip,
        tokenizer: TextTokenizer,
        batch_size: int = 256,
        tokens_at_once: int = TOKENS_AT_ONCE,
        spread: Spread = ALONE,
    ):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.batch_size = batch_size  # of texts, and of pictures of one size
        self.tokens_at_once = tokens_at_once  # of pictures of several sizes
        self.spread = spread  # over which processes label vectors, and pictures of an evaluation, are shared

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    def embed_images(self, images: Images) -> Tensor:
        """Unit vectors (B, E). Pictures of any size, or a tensor (B, 3, S, S) of the model's size."""
        if isinstance(images, Tensor):
            return self.embed_prepared(stack_images(images, self.model.config.image_size))
        prepared = ([self.prepare(image) for image in chunk] for chunk in self._chunks(images))
        return self._cat([self.embed_prepared(chunk) for chunk in prepared])

    def prepare(self, image: Image.Image) -> Tensor:
        """What the model reads of a picture of any size and mode: uint8 (3, S, S), or natively (3, H, W)."""
        config = self.model.config
        return prepare(image, config.image_size, config.preprocess, config.patch)

    @torch.inference_mode()
    def embed_prepared(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Unit vectors (B, E) of what ``prepare`` made: (3, S, S) each, or (3, H, W) of a native model.

        Native pictures go through the model in one row, ``tokens_at_once`` at most, those of like sizes together.
        """
        if self.model.config.preprocess.is_native and not isinstance(images, Tensor):
            return self._embed_native(images)
        stacked = (chunk if isinstance(chunk, Tensor) else torch.stack(list(chunk)) for chunk in self._chunks(images))
        return self._cat([self.model.encode_image(chunk.to(self.device)) for chunk in stacked])

    def _embed_native(self, images: Sequence[Tensor]) -> Tensor:
        tokens = [x.shape[1] * x.shape[2] // self.model.config.patch**2 for x in images]
        vector_BE = torch.empty(len(images), self.model.config.embed_dim, device=self.device)
        for rows in rows_by_tokens(tokens, self.tokens_at_once):
            vector_BE[rows] = self.model.encode_image([images[i].to(self.device) for i in rows])
        return vector_BE

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str], strict: bool = True) -> Tensor:
        """Unit vectors (P, E). A text longer than the model reads raises UserError, or is cut if not ``strict``."""
        parts = [
            self.model.encode_text(self.tokenizer(list(chunk), strict=strict).to(self.device))
            for chunk in self._chunks(texts)
        ]
        return self._cat(parts)

    def embed_labels(
        self,
        labels: Sequence[str],
        templates: Sequence[str] = ("{}",),
        descriptions: Descriptions | None = None,
        cache: Path | None = None,
    ) -> Tensor:
        """One unit vector a label, (C, E): the mean over its prompts, renormalised, as in the paper.

        ``cache`` is a folder where they are kept. With a ``spread`` all its processes must call this.
        """
        prompts = make_prompts(labels, templates, descriptions)
        return label_vectors(self.model, self.tokenizer, prompts, cache, self.spread)

    def classify(self, images: Images, labels: Sequence[str], templates: Sequence[str] = ("{}",)) -> Tensor:
        """Probabilities (B, C) of each label for each picture."""
        label_CE = self.embed_labels(labels, templates)
        with torch.inference_mode():
            return (self.model.scale() * self.embed_images(images) @ label_CE.T).softmax(-1)  # a bias would cancel

    def _chunks(self, items: Any) -> Iterable[Any]:
        return (items[i : i + self.batch_size] for i in range(0, len(items), self.batch_size))

    def _cat(self, parts: list[Tensor]) -> Tensor:
        return torch.cat([torch.empty(0, self.model.config.embed_dim, device=self.device), *parts])


def rows_by_tokens(tokens: Sequence[int], at_once: int) -> Iterator[list[int]]:
    """Numbers of pictures, the smallest first, as many together as have ``at_once`` tokens, and at least one."""
    rows: list[int] = []
    total = 0
    for i in sorted(range(len(tokens)), key=tokens.__getitem__):
        if rows and total + tokens[i] > at_once:
            yield rows
            rows, total = [], 0
        rows.append(i)
        total += tokens[i]
    if rows:
        yield rows


def load_clip(
    source: Path | str,
    device: torch.device | str = "cpu",
    image_size: int | None = None,
    activation: Activation | None = None,
    native: int | None = None,
) -> ClipPipeline:
    """A CLIP with the text tokenizer that it was trained with.

    ``source`` is a run's folder, whose newest weights are taken, or a model of others: ``open_clip:NAME/TAG``,
    ``hf:NAME``, a folder that Hugging Face or open_clip wrote, ``NAME:FILE``, or an archive of OpenAI's.
    ``image_size`` asks for another size of pictures, to which learned positions are interpolated; ``activation``
    is for files of weights that do not say which they were trained with. ``native`` asks for whole pictures at their
    own aspect ratio, with at most so many patches each, which any ViT of ours can read.
    """
    model, tokenizer = load_model(source, image_size, activation, native)
    return ClipPipeline(model.to(device), tokenizer)
