"""Image tokenizers side by side, 1,024 codes each; ``scripts/compare_tokenizers.py`` trains and compares them.

Emoji: 64 pixels a side, 8 × 8 ids; Fashion-MNIST: 28 pixels, 7 × 7 ids. docs/TOKENIZERS.md has what they reached.
"""

from pathlib import Path

from calligram.data.training import DataConfig
from calligram.presets.config import TokenizerRun
from calligram.tokenizers.autoencoder import AutoencoderConfig
from calligram.tokenizers.dvae import DVAEConfig
from calligram.tokenizers.fsq import FSQConfig
from calligram.tokenizers.image import ImageTokenizerConfig
from calligram.tokenizers.lfq import LFQConfig
from calligram.tokenizers.vq import VQConfig
from calligram.train.config import TrainConfig

_EMOJI, _FASHION = DataConfig(shards=Path("shards/emoji")), DataConfig(shards=Path("shards/fashion-mnist"))
_COARSE = AutoencoderConfig(patch=4, channels=(48, 128), num_blocks=1)  # 8 pixels a side become one token
_FINE = AutoencoderConfig(patch=2, channels=(32, 96), num_blocks=1)  # 4
_CODES = 1024
_LEVELS = (8, 8, 4, 4)


def _run(data: DataConfig, model: ImageTokenizerConfig, steps: int) -> TokenizerRun:
    train = TrainConfig(steps=steps, batch_size=32, optimizer="muon", lr=2e-3, log_every=50, save_every=500)
    if isinstance(model, DVAEConfig):  # a guess: no trial with Muon differed in the optimiser alone
        train = train.model_copy(update={"optimizer": "adamw", "lr": 3e-3})
    return TokenizerRun(data=data, model=model, train=train)


def _dvae(image_size: int, num_groups: int, steps: int) -> DVAEConfig:
    """The paper's, a tenth as wide; its schedules end a little before the training does."""
    return DVAEConfig(
        image_size=image_size,
        vocab_size=_CODES,
        width=24,
        num_groups=num_groups,
        num_blocks=1,
        temperature_steps=steps * 4 // 5,
        kl_weight=2.0,  # the paper's 6.6 leaves the codes without meaning in so few steps, and 1 leaves few of them
        kl_steps=steps // 5,
        min_log_scale=-2.0,  # at the usual bound it is the backgrounds that are learnt
    )


PRESETS = {
    "fsq-emoji-1024": _run(_EMOJI, FSQConfig(levels=_LEVELS, autoencoder=_COARSE), 2000),
    "vq-emoji": _run(_EMOJI, VQConfig(vocab_size=_CODES, autoencoder=_COARSE), 2000),
    "lfq-emoji": _run(_EMOJI, LFQConfig(bits=10, autoencoder=_COARSE), 2000),
    "dvae-emoji": _run(_EMOJI, _dvae(64, 4, 800), 800),
    "fsq-fashion-mnist": _run(_FASHION, FSQConfig(image_size=28, levels=_LEVELS, autoencoder=_FINE), 4000),
    "vq-fashion-mnist": _run(_FASHION, VQConfig(image_size=28, vocab_size=_CODES, autoencoder=_FINE), 4000),
    "lfq-fashion-mnist": _run(_FASHION, LFQConfig(image_size=28, bits=10, autoencoder=_FINE), 4000),
    "dvae-fashion-mnist": _run(_FASHION, _dvae(28, 3, 2000), 2000),
}
