"""Settings that every test runs under, which must be made before torch is imported; and tiny trained runs."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

# Nothing is fetched at run time, so a hub is never asked; without this a lookup waits for a network first.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("CALLIGRAM_DEBUG", None)

# pytest -n 2: workers that each start a thread a core are slower than one thread each
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MKL_NUM_THREADS"] = "1"


@dataclass(frozen=True)
class TinyRuns:
    """Folders of a data set of 60 drawings and of models that have seen it for a few steps."""

    shards: Path
    tokenizer: Path
    clip: Path
    dalle: Path


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> TinyRuns:
    """Made once a test process, in seconds. Leave these folders as they are: copy what a test wants to damage."""
    # imported here, since most tests have no need of all this
    from calligram.clip.model import ClipConfig
    from calligram.clip.towers import TextTowerConfig, ViTConfig
    from calligram.dalle.model import DalleConfig
    from calligram.data.sources.shapes import ShapesSource
    from calligram.data.training import DataConfig
    from calligram.data.writer import write_shards
    from calligram.nn.transformer import TransformerConfig
    from calligram.presets.build import start
    from calligram.presets.config import ClipRun, DalleRun, TokenizerRun
    from calligram.tokenizers.autoencoder import AutoencoderConfig
    from calligram.tokenizers.fsq import FSQConfig
    from calligram.tokenizers.text_config import TextTokenizerConfig
    from calligram.train.config import TrainConfig

    folder = tmp_path_factory.mktemp("tiny")
    tiny = TinyRuns(folder / "shards", folder / "tokenizer", folder / "clip", folder / "dalle")
    write_shards(ShapesSource(num_samples=45, num_test=9, num_holdout=6), tiny.shards, samples_per_shard=30)
    data = DataConfig(shards=tiny.shards, num_workers=0)
    train = TrainConfig(steps=6, batch_size=8, warmup_steps=1, log_every=2, save_every=3)
    text = TextTokenizerConfig(vocab_size=300)
    width = TransformerConfig(width=16, num_layers=1, num_heads=2)
    fsq = FSQConfig(image_size=16, levels=(4, 4), autoencoder=AutoencoderConfig(channels=(8,), num_blocks=1))
    image = ViTConfig(patch=8, transformer=width)
    clip = ClipConfig(image_size=16, embed_dim=8, image=image, text=TextTowerConfig(transformer=width))
    dalle = DalleConfig(text_length=32, transformer=width)
    start(TokenizerRun(data=data, train=train, model=fsq), tiny.tokenizer)
    start(ClipRun(data=data, train=train, model=clip, text_tokenizer=text), tiny.clip)
    start(
        DalleRun(data=data, train=train, model=dalle, text_tokenizer=text, image_tokenizer=tiny.tokenizer), tiny.dalle
    )
    return tiny
