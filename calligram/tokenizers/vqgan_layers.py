"""The encoder and decoder of VQGAN (arXiv 2012.09841), with the names that its published weights have.

# B batch, C channels, H W pixels, h w the token grid
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from calligram.nn.attention import attention
from calligram.nn.mask import Mask


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


def conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


class ResnetBlock(nn.Module):
    """Norm, swish and a 3 × 3 convolution, twice, added to their input."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.norm1, self.conv1 = norm(before), conv(before, after)
        self.norm2, self.conv2 = norm(after), conv(after, after)
        if before != after:
            self.nin_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        update = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return update + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    """One head over all places, as 1 × 1 convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        # one head of all channels: (B, h · w, 1, C)
        q, k, v = (layer(normed).flatten(2).transpose(1, 2).unsqueeze(2) for layer in (self.q, self.k, self.v))
        found = attention(q, k, v, Mask(causal=False)).squeeze(2).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.proj_out(found)


class Downsample(nn.Module):
    """Halves the sides; the padding lies on the right and below only."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles the sides."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.Module):
    """Blocks at one size of the grid, each followed by attention where the stage has some; then another size."""

    def __init__(self, before: int, after: int, num_blocks: int, attends: bool, resample: str = ""):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(after if i else before, after) for i in range(num_blocks))
        self.attn = nn.ModuleList(AttnBlock(after) for _ in range(num_blocks if attends else 0))
        self.resample = resample
        if resample:
            self.add_module(resample, Downsample(after) if resample == "downsample" else Upsample(after))

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[number](x)
        return self.get_submodule(self.resample)(x) if self.resample else x


class Middle(nn.Module):
    """Block, attention, block at the smallest grid."""

    def __init__(self, channels: int):
        super().__init__()
        self.block_1, self.attn_1 = ResnetBlock(channels, channels), AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class VQGANEncoder(nn.Module):
    """(B, 3, H, W) in −1 … 1 → (B, latent, h, w). ``attends`` says of each stage whether it has attention."""

    def __init__(self, channels: tuple[int, ...], num_blocks: int, attends: tuple[bool, ...], latent: int):
        super().__init__()
        first, last = channels[0], len(channels) - 2
        self.conv_in = conv(3, first)
        self.down = nn.ModuleList(
            Stage(before, after, num_blocks, attends[i], "downsample" if i < last else "")
            for i, (before, after) in enumerate(pairwise(channels))
        )
        self.mid = Middle(channels[-1])
        self.norm_out, self.conv_out = norm(channels[-1]), conv(channels[-1], latent)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for stage in self.down:
            x = stage(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class VQGANDecoder(nn.Module):
    """(B, latent, h, w) → (B, 3, H, W), unbounded. Stages are numbered from the finest, and used from the coarsest."""

    def __init__(self, channels: tuple[int, ...], num_blocks: int, attends: tuple[bool, ...], latent: int):
        super().__init__()
        widths = channels[1:]
        self.conv_in = conv(latent, widths[-1])
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            Stage(widths[min(i + 1, len(widths) - 1)], widths[i], num_blocks + 1, attends[i], "upsample" if i else "")
            for i in range(len(widths))
        )
        self.norm_out, self.conv_out = norm(widths[0]), conv(widths[0], 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for stage in reversed(self.up):
            x = stage(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Codebook(nn.Module):
    """A table of codes, looked up by distance."""

    def __init__(self, vocab_size: int, code_dim: int):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, code_dim)
        nn.init.uniform_(self.embedding.weight, -1 / vocab_size, 1 / vocab_size)

    def nearest(self, latent: Tensor) -> Tensor:
        """(B, C, h, w) → ids (B, h, w)."""
        x, codes = latent.movedim(1, -1).flatten(0, 2), self.embedding.weight
        # |x − c|² without the part that is the same for all codes
        ids = (codes.square().sum(1) - 2 * x @ codes.T).argmin(1)
        return ids.view(latent.shape[0], *latent.shape[2:])

    def forward(self, ids_Bhw: Tensor) -> Tensor:
        """ids → codes (B, C, h, w)."""
        return self.embedding(ids_Bhw).movedim(-1, 1)


def straight_through(latent: Tensor, codes: Tensor) -> Tensor:
    """The codes, with the latents' gradient."""
    return latent + (codes - latent).detach()
