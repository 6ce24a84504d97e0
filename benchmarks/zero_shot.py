"""Zero-shot classification beside open_clip and transformers: python benchmarks/zero_shot.py [--quick]

Label vectors: ImageNet's names in OpenAI's 80 templates, a slice of the classes. End to end: real JPEG files, from
the photographs that scikit-learn brings (crops, scales and grain of their own, quality 85 to 95), through ours with its
decoding threads, through open_clip's model and transform in a DataLoader, and through transformers' pipeline
"zero-shot-image-classification". All in fp32, a ViT-B/32 with CLIP's vocabulary, on the cores that torch takes.

Where ``load_clip`` can read open_clip's weights both sides have the same ones and their answers are compared; else the
weights are random on each side, the shapes the same, and only times are. CALLIGRAM_BENCH_WEIGHTS names a file of
weights that open_clip can load; without it they are random, too.
"""

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from harness import Row, paired_seconds, run, throughput_row
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader, Dataset

from calligram.cli.decoding import chunks, decode_ahead, decoder_for
from calligram.cli.pictures import find_items
from calligram.clip.classifier import label_vectors
from calligram.clip.model import Clip, ClipConfig
from calligram.clip.prompts import make_prompts, template_set
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.clip.zero_shot import ClipPipeline, load_clip
from calligram.nn.transformer import TransformerConfig
from calligram.tokenizers.text import TextTokenizer

PACKAGES = ("open_clip_torch", "transformers", "torch", "torchvision", "simplejpeg", "pillow", "numpy")
SIZES = ((512, 512), (640, 480), (800, 600), (768, 1024), (1280, 960), (1600, 1200))
OPEN_CLIP, TRANSFORMERS, NAME = "open_clip", "transformers' pipeline", "ViT-B-32"
BATCH = 64


def measure(quick: bool) -> Iterator[Row]:
    num_classes, num_pictures, repeats = (1, 32, 3) if quick else (20, 2000, 5)
    peer = open_clip.create_model(NAME, pretrained=weights_file()).eval()
    ours, same = our_model(peer)
    with tempfile.TemporaryDirectory() as folder:
        yield from label_rows(ours, peer, num_classes, repeats, same)
        yield from cache_rows(ours, Path(folder))
        write_photographs(Path(folder, "photographs"), num_pictures)
        yield from picture_rows(ours, peer, Path(folder, "photographs"), repeats, same)


def weights_file() -> str | None:
    return os.environ.get("CALLIGRAM_BENCH_WEIGHTS")


def our_model(peer: torch.nn.Module) -> tuple[ClipPipeline, bool]:
    """Ours with the peer's weights, and whether that is so: ``load_clip("ViT-B-32:FILE")`` where it can be done."""
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "open_clip.safetensors")
        save_file({name: x.contiguous() for name, x in peer.state_dict().items()}, path)
        try:
            return load_clip(f"{NAME}:{path}", activation="gelu"), True
        except ValueError:
            return of_the_same_shape(), False


def of_the_same_shape() -> ClipPipeline:
    tokenizer = TextTokenizer.clip()
    image = ViTConfig(patch=32, transformer=TransformerConfig(width=768, num_layers=12, num_heads=12))
    text = TextTowerConfig(context_length=77, transformer=TransformerConfig(width=512, num_layers=12, num_heads=8))
    config = ClipConfig(image_size=224, embed_dim=512, image=image, text=text)
    return ClipPipeline(Clip(config, tokenizer.vocab_size, tokenizer.end_id), tokenizer)


def label_rows(ours: ClipPipeline, peer: torch.nn.Module, num_classes: int, repeats: int, same: bool) -> Iterator[Row]:
    names = random.Random(0).sample(IMAGENET_CLASSNAMES, num_classes)
    templates, tokenizer = template_set("openai-80"), open_clip.get_tokenizer(NAME)
    found: dict[str, torch.Tensor] = {}

    def by_us() -> None:
        found["ours"] = label_vectors(ours.model, ours.tokenizer, make_prompts(names, templates))

    def by_peer() -> None:
        found["peer"] = open_clip.build_zero_shot_classifier(peer, tokenizer, names, OPENAI_IMAGENET_TEMPLATES).T

    pairs = paired_seconds(by_us, by_peer, repeats=repeats, warmup=0)
    yield throughput_row(
        f"label vectors, {num_classes} classes × 80 templates", "classes", num_classes, pairs, OPEN_CLIP
    )
    if same:
        cosine = float((found["ours"] * found["peer"]).sum(1).min())
        yield Row(
            case="label vectors, the least alike",
            metric="cosine",
            ours=cosine,
            peer=1.0,
            peer_name=OPEN_CLIP,
            ratio=cosine,
        )


def cache_rows(ours: ClipPipeline, folder: Path) -> Iterator[Row]:
    """All 1,000 × 80 prompts are asked for; only the slice is measured without the cache, so it is filled by hand."""
    from calligram.clip.classifier import KIND, cache_path
    from calligram.files import save_tensors

    prompts = make_prompts(IMAGENET_CLASSNAMES, template_set("openai-80"))
    path = cache_path(ours.model, ours.tokenizer, prompts, folder)
    save_tensors({"labels": torch.zeros(len(prompts), 512)}, path, {"kind": KIND})
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        label_vectors(ours.model, ours.tokenizer, prompts, folder)
        seconds.append(time.perf_counter() - start)
    median = float(np.median(seconds))
    case = "label vectors of 1,000 classes × 80 from the cache"
    yield Row(case=case, metric="s", ours=median, peer=1.0, peer_name="what is allowed", ratio=1 / median)


def write_photographs(folder: Path, count: int) -> None:
    """Each another crop, size, grain and quality of two photographs."""
    folder.mkdir()
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for index in range(count):
        rng = np.random.default_rng(index)
        photograph, (width, height) = photographs[index % 2], SIZES[index // 2 % len(SIZES)]
        share = rng.uniform(0.3, 1) * min(photograph.width / width, photograph.height / height)
        left, top = rng.uniform(0, photograph.width - share * width), rng.uniform(0, photograph.height - share * height)
        box = (left, top, left + share * width, top + share * height)
        scaled = photograph.resize((width, height), Image.Resampling.BICUBIC, box=box)
        grainy = np.asarray(scaled) + rng.normal(0, 3, (height, width, 1)).astype(np.float32)
        picture = Image.fromarray(grainy.round().clip(0, 255).astype(np.uint8))
        picture.save(folder / f"{index:05}.jpg", "JPEG", quality=int(rng.integers(85, 96)))


def picture_rows(ours: ClipPipeline, peer: torch.nn.Module, folder: Path, repeats: int, same: bool) -> Iterator[Row]:
    paths = sorted(folder.iterdir())
    names = IMAGENET_CLASSNAMES[:100]
    our_CE = label_vectors(ours.model, ours.tokenizer, make_prompts(names))
    peer_CE = open_clip.build_zero_shot_classifier(peer, open_clip.get_tokenizer(NAME), names, ["{}"]).T
    found: dict[str, list[int]] = {}

    def by_us() -> None:
        found["ours"] = classify_by_us(ours, our_CE, paths)

    def by_open_clip() -> None:
        found["peer"] = classify_by_open_clip(peer, peer_CE, paths)

    pairs = paired_seconds(by_us, by_open_clip, repeats=repeats)
    yield throughput_row("JPEG files to labels", "pictures", len(paths), pairs, OPEN_CLIP)
    if same:
        equal = float(np.mean(np.array(found["ours"]) == np.array(found["peer"])))
        yield Row(
            case="JPEG files, the same best label", metric="share", ours=equal, peer=0.99, peer_name="what is asked",
            ratio=equal / 0.99,
        )  # fmt: skip
    some = paths[: max(len(paths) // 4, 16)]
    pipeline = transformers_pipeline()
    pairs = paired_seconds(
        lambda: classify_by_us(ours, our_CE, some), lambda: classify_by_transformers(pipeline, some), repeats=repeats
    )
    yield throughput_row("JPEG files to labels", "pictures", len(some), pairs, TRANSFORMERS)


def classify_by_us(clip: ClipPipeline, label_CE: torch.Tensor, paths: list[Path]) -> list[int]:
    """As `calligram classify` does it."""
    best: list[int] = []
    decoded = decode_ahead(find_items([str(path) for path in paths]), decoder_for(clip), 2 * BATCH)
    with torch.inference_mode():
        for chunk in chunks(decoded, BATCH):
            images = torch.stack([each.pixels for each in chunk if each.pixels is not None])
            best += (clip.embed_images(images) @ label_CE.T).argmax(1).tolist()
    return best


class Files(Dataset):
    """What open_clip's README does with a file, in a DataLoader."""

    def __init__(self, paths: list[Path], transform: Callable[[Any], torch.Tensor]):
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[index]))


def classify_by_open_clip(model: torch.nn.Module, label_CE: torch.Tensor, paths: list[Path]) -> list[int]:
    best: list[int] = []
    transform = open_clip.image_transform(224, is_train=False)
    loader = DataLoader(Files(paths, transform), BATCH, num_workers=min(2, os.cpu_count() or 1))
    with torch.inference_mode():
        for images in loader:
            best += (model.encode_image(images, normalize=True) @ label_CE.T).argmax(1).tolist()
    return best


def transformers_pipeline() -> Any:
    """The same shapes at random weights; its tokenizer reads the vocabulary that open_clip brings."""
    import transformers
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    transformers.logging.set_verbosity_error()
    config = CLIPConfig(vision_config={"patch_size": 32}, projection_dim=512)
    model = CLIPModel(config).eval()
    processor = CLIPImageProcessor()
    return transformers.pipeline(
        "zero-shot-image-classification", model=model, image_processor=processor, tokenizer=hf_tokenizer(), device="cpu"
    )


def hf_tokenizer() -> Any:
    """CLIP's, with start and end put around the words and without a download."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    from calligram.tokenizers.clip_bpe import build_clip_bpe

    bpe = build_clip_bpe()
    start, end = (bpe.id_to_token(number) for number in (49406, 49407))
    bpe.post_processor = TemplateProcessing(single=f"{start} $A {end}", special_tokens=[(start, 49406), (end, 49407)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=end, eos_token=end, model_max_length=77)


def classify_by_transformers(pipeline: Any, paths: list[Path]) -> list[str]:
    """A hundred labels, as ours; the pipeline reads them anew for each picture."""
    names = list(dict.fromkeys(IMAGENET_CLASSNAMES[:100]))
    found = pipeline([str(path) for path in paths], candidate_labels=names, batch_size=BATCH)
    return [each[0]["label"] for each in found]


if __name__ == "__main__":
    run("zero_shot", measure, PACKAGES)
