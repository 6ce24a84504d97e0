"""What is looked at while a model is trained: tasks of the eval room on a split, and pictures that it draws."""

from pathlib import Path

import torch
from PIL import Image

from calligram.dalle.draw import DallePipeline
from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.errors import UserError
from calligram.eval.runner import evaluate, task
from calligram.eval.sheet import contact_sheet
from calligram.eval.task import EvalConfig, Models
from calligram.nn.image import to_uint8
from calligram.pictures import to_image
from calligram.presets.config import WatchConfig
from calligram.tokenizers.image import ImageTokenizer
from calligram.train.watch import Findings, Watch

USUAL = ("zero-shot", "retrieval", "reconstruction", "likelihood")  # quick, and say most
NUM_CAPTIONS = 30  # for a task that draws
SHEET = 128  # pixels a side at least, of a picture on a sheet


def build_watch(config: WatchConfig, models: Models, data: Path | str) -> Watch:
    """``data`` is what is trained on. Raises UserError for tasks or a split that do not exist or do not fit."""
    if not config.every:
        return Watch()
    return Watch(config.every, Looks(config, models, config.shards or data))


class Looks:
    """Called at a step, it evaluates the models and draws."""

    def __init__(self, config: WatchConfig, models: Models, data: Path | str):
        self.config, self.models, self.data = config, models, data
        self.evaluation = EvalConfig(
            split=config.split, max_samples=config.max_samples, num_captions=NUM_CAPTIONS, num_candidates=4
        )
        manifest = Manifest.load(data)
        if not manifest.splits.get(config.split):
            known = ", ".join(name for name, shards in manifest.splits.items() if shards)
            raise UserError(
                f"--watch.split {config.split}: {data} has no such split, only {known}; name one of these, or other "
                f"data by --watch.shards"
            )
        self.tasks = tuple(name for name in config.tasks or USUAL if self._fits(name, manifest))
        self.shards = Shards(data, config.split)
        self.prompts = config.prompts or self._captions()
        if config.prompts and models.dalle is not None:
            models.dalle.text_tokenizer(list(config.prompts), strict=True)  # one that is too long is told now

    def __call__(self) -> Findings:
        numbers = evaluate(self.models, self.data, self.evaluation, self.tasks) if self.tasks else {}
        return Findings(numbers, self._pictures())

    def _fits(self, name: str, manifest: Manifest) -> bool:
        found = task(name)
        fits = self.models.has(found.needs) and found.applies_to(manifest, self.evaluation)
        if name in self.config.tasks and not fits:
            raise UserError(
                f"--watch.tasks {name}: it needs a {' and a '.join(found.needs)} and data made for it; leave it out"
            )
        return fits

    def _captions(self) -> tuple[str, ...]:
        """Of samples that lie evenly over the split."""
        count = min(self.config.num_pictures, len(self.shards))
        return tuple(self.shards[i * len(self.shards) // count].captions[0] for i in range(count))

    def _pictures(self) -> dict[str, Image.Image]:
        if not self.config.num_pictures:
            return {}
        if self.models.dalle is not None:
            return {"drawings": draw(self.models.dalle, self.prompts)}
        if self.models.tokenizer is not None:
            count = min(self.config.num_pictures, len(self.shards))
            size = self.models.tokenizer.config.image_size
            images = torch.stack([self.shards[i].square(size) for i in range(count)])
            return {"reconstructions": rebuild(self.models.tokenizer, images)}
        return {}


def draw(dalle: DallePipeline, prompts: tuple[str, ...]) -> Image.Image:
    """A sheet with a drawing of each prompt, the same noise each time."""
    pictures = [to_image(pixels) for pixels in dalle.draw(prompts, range(len(prompts)))]
    return contact_sheet(pictures, prompts, scale=_scale(pictures[0].width))


@torch.inference_mode()
def rebuild(tokenizer: ImageTokenizer, images_uint8: torch.Tensor) -> Image.Image:
    """A sheet of pictures (B, 3, H, W) above what is left of them in their tokens."""
    device = next(tokenizer.parameters()).device
    rebuilt = to_uint8(tokenizer.decode(tokenizer.encode(images_uint8.to(device)))).cpu()
    pictures = [to_image(pixels) for pixels in (*images_uint8, *rebuilt)]
    return contact_sheet(pictures, columns=len(images_uint8), scale=_scale(pictures[0].width))


def _scale(width: int) -> int:
    return max(1, SHEET // width)
