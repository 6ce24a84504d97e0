"""A small tokenizer of each kind: 16 pixels a side, 4 × 4 tokens."""

from typing import Any

import torch

from calligram.nn.transformer import TransformerConfig
from calligram.tokenizers.autoencoder import AutoencoderConfig, ViTAutoencoderConfig
from calligram.tokenizers.dvae import DVAEConfig
from calligram.tokenizers.fsq import FSQConfig
from calligram.tokenizers.image import build_image_tokenizer
from calligram.tokenizers.lfq import LFQConfig
from calligram.tokenizers.vq import MappedCodebook, VQConfig
from calligram.tokenizers.vqgan import VQGANConfig

LOCAL = AutoencoderConfig(patch=4, channels=(16,), num_blocks=1)
VIT = ViTAutoencoderConfig(patch=4, transformer=TransformerConfig(width=16, num_layers=1, num_heads=2))
KINDS: dict[str, Any] = {
    "fsq": FSQConfig(image_size=16, levels=(5, 4), autoencoder=LOCAL),
    "fsq-vit": FSQConfig(image_size=16, levels=(5, 4), autoencoder=VIT),
    "vq": VQConfig(image_size=16, vocab_size=20, code_dim=4, autoencoder=LOCAL),
    "simvq": VQConfig(image_size=16, vocab_size=20, code_dim=4, codebook=MappedCodebook(), autoencoder=LOCAL),
    "lfq": LFQConfig(image_size=16, bits=5, autoencoder=LOCAL),
    "bsq": LFQConfig(image_size=16, bits=5, spherical=True, autoencoder=LOCAL),
    "dvae": DVAEConfig(image_size=16, vocab_size=20, width=8, decoder_stem=8, num_groups=3, num_blocks=1),
    "vqgan": VQGANConfig(
        image_size=16,
        vocab_size=20,
        code_dim=8,
        latent=16,
        width=32,
        multipliers=(1, 1, 2),
        num_blocks=1,
        attention_at=(8,),
    ),
}


def pictures(count: int = 6, size: int = 16, seed: int = 1) -> torch.Tensor:
    """Smooth random pictures, uint8 (B, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, size // 4, size // 4, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (fine * 255).round().to(torch.uint8)


def trained(kind: str, seed: int = 0) -> Any:
    """Random weights, spread so far that pictures reach many tokens, after one look at some of them."""
    torch.manual_seed(seed)
    model = build_image_tokenizer(KINDS[kind])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    model.train().learn(pictures(16))
    return model.eval()
