"""Draw pictures of a sentence: text tokenizer, decoder and image tokenizer as one.

# B pictures, S pixels a side
"""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from calligram import runs
from calligram.dalle.completion import TRIES
from calligram.dalle.drawer import Basis, Drawer
from calligram.dalle.model import Dalle, DalleConfig
from calligram.dalle.preview import WatchPictures
from calligram.dalle.sampling import SamplingConfig
from calligram.dalle.variation import STRENGTH
from calligram.errors import UserError
from calligram.tokenizers.image import ImageTokenizer
from calligram.tokenizers.run import load_tokenizer
from calligram.tokenizers.text import TextTokenizer

TYPE = "dalle"


class DallePipeline(Drawer):
    """A trained DALL-E with both of its tokenizers: sentences in, pictures out."""

    @overload
    def generate(
        self,
        prompt: str,
        num_images: int = 1,
        seed: int = 0,
        sampling: SamplingConfig | None = None,
        watch: WatchPictures | None = None,
    ) -> list[Image.Image]: ...
    @overload
    def generate(
        self,
        prompt: Sequence[str],
        num_images: int = 1,
        seed: int = 0,
        sampling: SamplingConfig | None = None,
        watch: WatchPictures | None = None,
    ) -> list[list[Image.Image]]: ...
    def generate(self, prompt, num_images=1, seed=0, sampling=None, watch=None):
        """Pictures of a sentence, or a list of them for each of several.

        Picture i depends on its prompt and ``seed + i`` alone. ``watch`` is called with a
        :class:`~calligram.dalle.preview.HalfDrawn` whenever more of the pictures is there.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        seeds = [seed + i for _ in prompts for i in range(num_images)]
        tokens_BN = self.draw_tokens(
            [each for each in prompts for _ in range(num_images)], seeds, sampling, watch=watch
        )
        images = self.images(tokens_BN)
        rows = [images[i * num_images : (i + 1) * num_images] for i in range(len(prompts))]
        return rows[0] if isinstance(prompt, str) else rows

    def complete(
        self,
        image: Image.Image,
        prompt: str = "",
        rows: int | None = None,
        mask: Image.Image | Tensor | None = None,
        num_images: int = 1,
        seed: int = 0,
        sampling: SamplingConfig | None = None,
        tries: int = TRIES,
        watch: WatchPictures | None = None,
    ) -> list[Image.Image]:
        """Pictures of which a part is given: the upper ``rows`` rows of tokens, or what a ``mask`` leaves.

        White pixels of a mask, or True ones of a tensor (H, W) of the model's size, are drawn anew. ``tries`` is how
        many drawings each picture is chosen from where something is kept behind a hole. Without a prompt the model
        draws what it likes. Raises UserError for rows that are not there, and for a mask of another size than the
        picture.
        """
        basis = self.completion(image, rows, mask, tries)
        return self._several(prompt, num_images, seed, sampling, basis, watch)

    def variations(
        self,
        image: Image.Image,
        prompt: str = "",
        strength: float = STRENGTH,
        num_images: int = 1,
        seed: int = 0,
        sampling: SamplingConfig | None = None,
        source_prompt: str | None = None,
        watch: WatchPictures | None = None,
    ) -> list[Image.Image]:
        """Pictures like the given one; see :mod:`calligram.dalle.variation`.

        ``prompt`` says what they show. Where the given one shows something else, ``source_prompt`` says what, and only
        what the two do not share is changed.
        """
        return self._several(prompt, num_images, seed, sampling, self.variation(image, strength, source_prompt), watch)

    def log_likelihood(self, images: Tensor | Sequence[Image.Image], prompts: str | Sequence[str]) -> Tensor:
        """log p of each picture's tokens given its prompt, or all given the one, in nats, (B,).

        ``images`` is uint8 (B, 3, S, S), or pictures of any size. Sampling's settings play no part in it.
        """
        texts = [prompts] * len(images) if isinstance(prompts, str) else list(prompts)
        if len(texts) != len(images):
            raise UserError(
                f"{len(images)} pictures for {len(texts)} prompts: give one prompt a picture, or one for all"
            )
        parts = [slice(i, i + self.batch_size) for i in range(0, len(texts), self.batch_size)]
        return torch.cat([self.score(self.encode(images[part]), texts[part]) for part in parts])

    def _several(
        self,
        prompt: str,
        num_images: int,
        seed: int,
        sampling: SamplingConfig | None,
        basis: Basis,
        watch: WatchPictures | None,
    ) -> list[Image.Image]:
        seeds = [seed + i for i in range(num_images)]
        return self.images(self.draw_tokens([prompt] * num_images, seeds, sampling, basis, watch))


class SavedDalle(BaseModel):
    """What is needed of ``config.json`` to rebuild a DALL-E."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: DalleConfig
    sampling: SamplingConfig = SamplingConfig()


def build_dalle(config: DalleConfig, text_tokenizer: TextTokenizer, image_tokenizer: ImageTokenizer) -> Dalle:
    """A decoder whose vocabularies are those of its tokenizers."""
    return Dalle(
        config, text_tokenizer.vocab_size, image_tokenizer.vocab_size, image_tokenizer.grid, text_tokenizer.end_id
    )


def load_dalle(run: Path | str, device: torch.device | str = "cpu") -> DallePipeline:
    """The newest weights of a DALL-E run, with the tokenizers that it was trained with."""
    run = Path(run)
    try:
        config = SavedDalle.model_validate(runs.read_config(run, TYPE))
    except ValidationError as error:
        raise UserError(f"{run / runs.CONFIG} does not describe a DALL-E: {error.errors()[0]['msg']}") from None
    path = runs.weights(run)
    text_tokenizer = TextTokenizer.load(run / runs.TEXT_TOKENIZER)
    image_tokenizer = load_tokenizer(run / runs.IMAGE_TOKENIZER, device)
    model = build_dalle(config.model, text_tokenizer, image_tokenizer)
    runs.load_weights(model, path)
    return DallePipeline(model.to(device), text_tokenizer, image_tokenizer, config.sampling)
