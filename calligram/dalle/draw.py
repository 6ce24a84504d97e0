"""Draw pictures of a sentence: text tokenizer, decoder and image tokenizer as one.

# B pictures, T text tokens, N image tokens
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from calligram import runs
from calligram.dalle.model import Dalle, DalleConfig
from calligram.dalle.sampling import SamplingConfig, sample
from calligram.errors import UserError
from calligram.nn.image import to_uint8
from calligram.pictures import to_image
from calligram.tokenizers.image import ImageTokenizer
from calligram.tokenizers.run import load_tokenizer
from calligram.tokenizers.text import TextTokenizer

TYPE = "dalle"


class DallePipeline:
    """A trained DALL-E with both of its tokenizers: sentences in, pictures out."""

    def __init__(
        self,
        model: Dalle,
        text_tokenizer: TextTokenizer,
        image_tokenizer: ImageTokenizer,
        sampling: SamplingConfig | None = None,
        batch_size: int = 256,
    ):
        self.model, self.text_tokenizer, self.image_tokenizer = model.eval(), text_tokenizer, image_tokenizer.eval()
        self.sampling = sampling or SamplingConfig()
        self.batch_size = batch_size

    @property
    def device(self) -> torch.device:
        return self.model.device

    def generate(
        self, prompt: str, num_images: int = 1, seed: int = 0, sampling: SamplingConfig | None = None
    ) -> list[Image.Image]:
        """Pictures of one sentence; picture i depends on (prompt, seed, i) alone."""
        pixels = self.draw([prompt] * num_images, [seed + i for i in range(num_images)], sampling)
        return [to_image(x) for x in pixels.cpu()]

    def draw(self, prompts: Sequence[str], seeds: Sequence[int], sampling: SamplingConfig | None = None) -> Tensor:
        """One picture for each prompt and seed, uint8 (B, 3, H, W). Raises UserError for a prompt that is too long."""
        if len(prompts) != len(seeds) or not prompts:
            raise UserError(
                f"{len(prompts)} prompts and {len(seeds)} seeds: give one seed for each, one prompt at least"
            )
        text_BT = self.text_tokenizer(list(prompts), strict=True).to(self.device)
        parts = []
        for start in range(0, len(prompts), self.batch_size):
            chunk = slice(start, start + self.batch_size)
            tokens = sample(self.model, text_BT[chunk], seeds[chunk], sampling or self.sampling)
            parts.append(to_uint8(self.image_tokenizer.decode(tokens)))
        return torch.cat(parts)


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
