"""A CLIP that is trained on whole pictures at their own aspect ratio."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from calligram import runs
from calligram.clip.model import ClipConfig
from calligram.clip.preprocess import PreprocessConfig
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.clip.zero_shot import load_clip
from calligram.data.sources.folder import FolderSource
from calligram.data.training import DataConfig
from calligram.data.transforms import AugmentConfig
from calligram.data.writer import write_shards
from calligram.nn.transformer import TransformerConfig
from calligram.presets.build import start
from calligram.presets.config import ClipRun
from calligram.tokenizers.text_config import TextTokenizerConfig
from calligram.train.config import TrainConfig

WIDTH = TransformerConfig(width=16, num_layers=1, num_heads=2)
NATIVE = PreprocessConfig(resize="native", max_patches=12)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("native")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        pixels = rng.integers(0, 256, (150 - 8 * i, 20 + 9 * i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{i}.png")
        (folder / "pictures" / f"{i}.txt").write_text(f"picture number {i}")
    write_shards(FolderSource(root=folder / "pictures", test_fraction=0.0), folder / "shards", samples_per_shard=8)
    return folder / "shards"


def run_of(shards, preprocess: PreprocessConfig = NATIVE, stem: tuple[int, ...] = (), **train) -> ClipRun:
    return ClipRun(
        data=DataConfig(shards=shards, num_workers=0, augment=AugmentConfig(min_crop=0.8, flip=True)),
        train=TrainConfig(steps=4, batch_size=8, warmup_steps=1, log_every=2, save_every=2, **train),
        model=ClipConfig(
            image_size=16,
            embed_dim=8,
            image=ViTConfig(patch=4, stem=stem, transformer=WIDTH),
            text=TextTowerConfig(transformer=WIDTH),
            preprocess=preprocess,
        ),
        text_tokenizer=TextTokenizerConfig(vocab_size=300),
    )


def test_in_parts_and_again_from_a_checkpoint_it_is_the_same_training(shards, tmp_path):
    start(run_of(shards), tmp_path / "whole")
    start(run_of(shards, accumulate=2, recompute=True), tmp_path / "parts")
    start(run_of(shards), tmp_path / "again")
    shutil.rmtree(runs.checkpoints(tmp_path / "again")[-1])
    start(run_of(shards), tmp_path / "again", resume=True)
    whole, parts, again = (runs.read_weights(runs.weights(tmp_path / name)) for name in ("whole", "parts", "again"))
    assert all(torch.equal(again[name], x) for name, x in whole.items())
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-3)  # Adam divides by what may be rounding alone


def test_the_trained_model_reads_pictures_as_it_was_trained_to(shards, tmp_path):
    start(run_of(shards), tmp_path / "run")
    clip = load_clip(tmp_path / "run")
    wide = Image.new("RGB", (200, 20), "red")
    assert clip.prepare(wide).shape == (3, 4, 40)
    assert clip.embed_images([wide, Image.new("RGB", (20, 200), "red")]).shape == (2, 8)


def test_a_stem_with_its_batch_norm_is_refused(shards):
    with pytest.raises(ValidationError, match=r"leave model\.image\.stem out"):
        run_of(shards, stem=(8,))
    run_of(shards, PreprocessConfig(), stem=(8,))


def test_a_teacher_of_squares_is_refused(shards):
    fields = run_of(shards).model_dump() | {"distill": {"teacher": "runs/large"}}
    with pytest.raises(ValidationError, match=r"distill.teacher runs/large: a teacher reads squares"):
        ClipRun.model_validate(fields)
