"""Models of the field by their sizes, to be trained from nothing or from published weights; not measured.

    calligram data make folder --root PICTURES --out shards/mine
    torchrun --nproc-per-node 8 -m calligram train clip-vit-b-32 --data.shards shards/mine
    calligram convert open_clip:ViT-B-32/laion2b_s34b_b79k --out runs/b32
    calligram train clip-vit-b-32 --data.shards shards/mine --init runs/b32 --train.lr 1e-5 --train.steps 2000

Batch, learning rate, betas and decay are those of the papers (arXiv 2103.00020, SigLIP 2303.15343) for many GPUs; on
fewer give a smaller --train.batch-size and --train.lr. What published weights of these sizes reach on ImageNet, and
others measured: ViT-B-32 66.6 % (LAION-2B), ViT-B-16 68.3, ViT-L-14 75.5, ViT-L-14-336 76.6 (OpenAI), SigLIP-B-16 76.0.
"""

from calligram.clip.losses.config import SigmoidConfig
from calligram.clip.model import ClipConfig
from calligram.clip.towers import ImageTowerConfig, ResNetConfig, TextTowerConfig, ViTConfig
from calligram.clip.weights.open_clip import OPENAI_MEAN, OPENAI_STD
from calligram.data.training import DataConfig
from calligram.data.transforms import AugmentConfig
from calligram.nn.transformer import TransformerConfig
from calligram.presets.config import ClipRun
from calligram.tokenizers.text_config import TextTokenizerConfig
from calligram.train.config import TrainConfig


def _vit(patch: int, width: int, num_layers: int) -> ViTConfig:
    """OpenAI's; heads are 64 wide."""
    size = TransformerConfig(width=width, num_layers=num_layers, num_heads=width // 64)
    return ViTConfig(patch=patch, pool="class", pre_norm=True, patch_bias=False, transformer=size)


def _text(width: int) -> TextTowerConfig:
    size = TransformerConfig(width=width, num_layers=12, num_heads=width // 64)
    return TextTowerConfig(context_length=77, transformer=size)


def _clip(image: ImageTowerConfig, embed_dim: int, text_width: int, image_size: int = 224) -> ClipRun:
    model = ClipConfig(
        image_size=image_size,
        embed_dim=embed_dim,
        image=image,
        text=_text(text_width),
        mean=OPENAI_MEAN,
        std=OPENAI_STD,
    )
    return ClipRun(data=_DATA, model=model, text_tokenizer=TextTokenizerConfig(type="clip"), train=_CLIP_TRAIN)


_DATA = DataConfig(augment=AugmentConfig(scale=(0.9, 1.0)))
_CLIP_TRAIN = TrainConfig(
    steps=400_000, batch_size=32_768, lr=5e-4, warmup_steps=2000, weight_decay=0.2, final_lr_ratio=0, save_every=5000
)
_SIGLIP_TRAIN = _CLIP_TRAIN.model_copy(
    update={"lr": 1e-3, "betas": (0.9, 0.95), "weight_decay": 1e-4, "warmup_steps": 20_000}
)
_SIGLIP_SIZE = TransformerConfig(width=768, num_layers=12, num_heads=12, activation="gelu_tanh", norm_eps=1e-6)

PRESETS = {
    "clip-vit-b-32": _clip(_vit(32, 768, 12), 512, 512),
    "clip-vit-b-16": _clip(_vit(16, 768, 12), 512, 512),
    "clip-vit-l-14": _clip(_vit(14, 1024, 24), 768, 768),
    "clip-vit-l-14-336": _clip(_vit(14, 1024, 24), 768, 768, image_size=336),
    "clip-rn50": _clip(ResNetConfig(), 1024, 512),
    "siglip-b-16": ClipRun(  # with CLIP's vocabulary, not with the one of SigLIP's own weights
        data=_DATA,
        model=ClipConfig(
            image_size=224,
            embed_dim=768,
            image=ViTConfig(pool="attention", projection="none", transformer=_SIGLIP_SIZE),
            text=TextTowerConfig(
                context_length=64, causal=False, pool="last", projection="affine", transformer=_SIGLIP_SIZE
            ),
            init_scale=10.0,
            init_bias=-10.0,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        text_tokenizer=TextTokenizerConfig(type="clip"),
        loss=SigmoidConfig(),
        train=_SIGLIP_TRAIN,
    ),
}
