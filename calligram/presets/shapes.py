"""Runs on ``shapes``: `calligram data make shapes` first.

The ``demo-*`` runs are what ``make demo`` trains, in eleven minutes with all else on two cores. The others are the
longer recipe of ``scripts/shapes_full.sh``, about an hour: 0.93 of captions drawn all right, 0.75 of those with pairs
never seen. docs/LOG.md has more.
"""

from pathlib import Path

from calligram.clip.model import ClipConfig
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.dalle.model import DalleConfig
from calligram.dalle.sampling import SamplingConfig
from calligram.data.training import DataConfig
from calligram.nn.decoder import PlainConfig
from calligram.nn.llama import LlamaConfig
from calligram.nn.transformer import TransformerConfig
from calligram.presets.config import ClipRun, DalleRun, TokenizerRun
from calligram.tokenizers.autoencoder import AutoencoderConfig
from calligram.tokenizers.fsq import FSQConfig
from calligram.tokenizers.text_config import TextTokenizerConfig
from calligram.train.config import TrainConfig

_SHAPES = DataConfig(shards=Path("shards/shapes"))
_TEXT = TextTokenizerConfig(type="bpe", vocab_size=512)
_CONTEXT, _PROMPT = 20, 16  # tokens; the longest caption has 12 words and each is a token
_SHIFT = 2  # a noun knows its colour and its size before the first layer
_GUIDED = SamplingConfig(guidance=2.5, temperature=0.8)


_FSQ = FSQConfig(levels=(8, 8, 8), autoencoder=AutoencoderConfig(patch=4, channels=(32, 96), num_blocks=1))
_CLIP = ClipConfig(
    image=ViTConfig(
        patch=16,
        stem=(16, 32, 64, 128),
        transformer=TransformerConfig(width=128, num_layers=3, num_heads=4),
    ),
    text=TextTowerConfig(
        context_length=_CONTEXT, token_shift=_SHIFT, transformer=TransformerConfig(width=128, num_layers=2, num_heads=4)
    ),
)


def _at(folder: str) -> DataConfig:
    return DataConfig(shards=Path(folder))


def _dalle(transformer: PlainConfig | LlamaConfig) -> DalleRun:
    """The paper's Transformer and today's, at equal FLOPs of training."""
    return DalleRun(
        data=_SHAPES,
        image_tokenizer=Path("runs/fsq-shapes"),
        model=DalleConfig(text_length=_PROMPT, token_shift=_SHIFT, transformer=transformer),
        text_tokenizer=_TEXT,
        sampling=_GUIDED,
        train=TrainConfig(steps=10_000, batch_size=32, optimizer="muon", lr=3e-3, log_every=50, save_every=2000),
    )


PRESETS = {
    "demo-fsq": TokenizerRun(
        data=_at("runs/demo/shapes"),
        model=_FSQ,
        train=TrainConfig(
            steps=700, batch_size=16, optimizer="muon", lr=2e-3, weight_decay=0.01, log_every=25, save_every=350
        ),
    ),
    "demo-clip": ClipRun(
        data=_at("runs/demo/shapes"),
        model=_CLIP,
        text_tokenizer=_TEXT,
        hard_negatives=True,
        train=TrainConfig(steps=330, batch_size=128, optimizer="muon", lr=2e-3, log_every=10, save_every=110),
    ),
    "demo-dalle": DalleRun(
        data=_at("runs/demo/shapes"),
        image_tokenizer=Path("runs/demo/tokenizer"),
        model=DalleConfig(
            text_length=_PROMPT, token_shift=_SHIFT, transformer=PlainConfig(width=96, num_layers=4, num_heads=3)
        ),
        text_tokenizer=_TEXT,
        sampling=_GUIDED,
        train=TrainConfig(steps=1700, batch_size=32, optimizer="muon", lr=3e-3, log_every=50, save_every=850),
    ),
    "fsq-shapes": TokenizerRun(
        data=_SHAPES,
        model=_FSQ,
        train=TrainConfig(steps=6000, batch_size=16, lr=2e-3, weight_decay=0.01, log_every=50, save_every=1000),
    ),
    "clip-shapes": ClipRun(
        data=_SHAPES,
        model=_CLIP.model_copy(
            update={"embed_dim": 256, "image": _CLIP.image.model_copy(update={"stem": (24, 48, 96, 128)})}
        ),
        text_tokenizer=_TEXT,
        hard_negatives=True,
        train=TrainConfig(steps=1500, batch_size=128, optimizer="muon", lr=2e-3, save_every=300),
    ),
    "dalle-shapes": DalleRun(
        data=_SHAPES,
        image_tokenizer=Path("runs/fsq-shapes"),
        model=DalleConfig(
            text_length=_PROMPT, token_shift=_SHIFT, transformer=PlainConfig(width=128, num_layers=5, num_heads=4)
        ),
        text_tokenizer=_TEXT,
        sampling=_GUIDED,
        train=TrainConfig(steps=6500, batch_size=32, optimizer="muon", lr=3e-3, log_every=50, save_every=1300),
    ),
    "dalle-shapes-paper": _dalle(PlainConfig(width=128, num_layers=6, num_heads=4, attention="paper")),
    # three quarters of a plain layer's attention and an MLP larger by as much: 12 · width² weights a layer in both
    "dalle-shapes-today": _dalle(
        LlamaConfig(
            width=128, num_layers=6, num_heads=4, num_kv_heads=2, mlp_ratio=3.0, qk_norm=True, rotary_base=100.0
        )
    ),
}
