"""A trained CLIP that another one learns from, and how it reads what the other reads.

# B pictures of this process and their texts, S pixels a side, U tokens of the teacher, E and F embedding of student and
# teacher
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from calligram.clip.losses.distill import distillation_loss
from calligram.clip.losses.ring import Ring
from calligram.clip.losses.tiles import eager
from calligram.clip.model import Clip
from calligram.nn.image import to_float
from calligram.tokenizers.sharing import refit, share_words
from calligram.tokenizers.text import TextTokenizer

IDS = "teacher_text"  # in a batch: its captions in words of the teacher, where the student has others
IMAGE, TEXT = "teacher_image", "teacher_text"  # among what a task compares


class Teacher:
    """Embeds the student's batches; nothing of it ever changes.

    No ``nn.Module``, so that a task which holds one has none of its weights: they are not trained, averaged, saved,
    counted or spread over processes. ``students`` is the tokenizer of the student, ``weight`` that of the loss.
    """

    def __init__(self, model: Clip, tokenizer: TextTokenizer, students: TextTokenizer, weight: float = 1.0):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.weight = tokenizer, weight
        self.shares_words = share_words(tokenizer, students)

    @eager
    @torch.no_grad()
    def embed(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unit vectors (B, F) of the batch's pictures, and of its captions."""
        ids_BU = refit(batch["text"], self.tokenizer) if self.shares_words else batch[IDS]
        distinct_ids, row_B = ids_BU.unique(dim=0, return_inverse=True)  # a text that stands there twice is read once
        images = resize(batch["image"], self.model.config.image_size)
        return {IMAGE: self.model.encode_image(images), TEXT: self.model.encode_text(distinct_ids)[row_B]}

    def loss(self, image_BE: Tensor, text_BE: Tensor, scale: Tensor, features: dict[str, Tensor], ring: Ring) -> Tensor:
        """How far the student's likenesses of a whole batch are from the teacher's."""
        return distillation_loss(image_BE, text_BE, scale, features[IMAGE], features[TEXT], self.model.scale(), ring)


def resize(images: Tensor, size: int) -> Tensor:
    """(B, 3, S, S), uint8 or 0 … 1 → (B, 3, size, size), 0 … 1, by an antialiased bicubic filter.

    Those that have the size stay as they are.
    """
    if images.shape[-2:] == (size, size):
        return images
    pixels = F.interpolate(to_float(images), size=(size, size), mode="bicubic", antialias=True)
    return pixels.clamp(0, 1)  # the filter overshoots at edges
