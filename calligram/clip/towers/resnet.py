"""CLIP's own kind of ResNet (arXiv 2103.00020, section 2.4): picture → vector.

# B batch, C channels, H W pixels of a map, T = H * W + 1 tokens, N heads, K head width
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from calligram.nn.attention import attention
from calligram.nn.transformer import learned

STRIDE = 32  # pixels a side of one cell of the last map
EXPANSION = 4  # channels that leave a block, over those inside


class ResNetConfig(BaseModel):
    """CLIP's ResNet: three convolutions first, means where others leave out pixels, an attention at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["resnet"] = "resnet"
    blocks: tuple[int, int, int, int] = Field(default=(3, 4, 6, 3), description="residual blocks of each stage")
    channels: int = Field(default=64, ge=2, description="channels of the first stage; its output has 32 times as many")
    num_heads: int = Field(default=32, ge=1, description="heads of the attention that makes one vector of the last map")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "ResNetConfig":
        if self.channels % 2:
            raise ValueError(f"channels {self.channels} is odd, but the first convolutions have half of them")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width}, 32 x channels, is not divisible by num_heads {self.num_heads}")
        return self

    @property
    def width(self) -> int:
        return self.channels * 8 * EXPANSION

    @property
    def projection(self) -> Literal["affine"]:
        return "affine"


class ResNet(nn.Module):
    """(B, 3, H, W) → (B, D). Names of its parts are those of OpenAI's weights."""

    def __init__(self, config: ResNetConfig, image_size: int):
        super().__init__()
        self.config = config
        self.width = config.width
        half, whole = config.channels // 2, config.channels
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, whole, 3, padding=1, bias=False), nn.BatchNorm2d(whole)
        before = whole
        for stage, number in enumerate(config.blocks):
            inside = whole * 2**stage
            first = Bottleneck(before, inside, stride=2 if stage else 1)
            before = inside * EXPANSION
            others = (Bottleneck(before, inside) for _ in range(number - 1))
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *others))
        self.attnpool = MapPool(self.width, image_size // STRIDE, config.num_heads)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        for stage in range(len(self.config.blocks)):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return self.attnpool(x)


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 and 1 × 1 convolutions, added to their input; a stride is a mean, which does not alias."""

    def __init__(self, before: int, inside: int, stride: int = 1):
        super().__init__()
        after = inside * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(before, inside, 1, bias=False), nn.BatchNorm2d(inside)
        self.conv2, self.bn2 = nn.Conv2d(inside, inside, 3, padding=1, bias=False), nn.BatchNorm2d(inside)
        self.conv3, self.bn3 = nn.Conv2d(inside, after, 1, bias=False), nn.BatchNorm2d(after)
        nn.init.zeros_(self.bn3.weight)  # starts as the identity
        self.shrink = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = None
        if stride > 1 or before != after:
            layers = {"0": nn.Conv2d(before, after, 1, bias=False), "1": nn.BatchNorm2d(after)}
            self.downsample = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.shrink(F.relu(self.bn2(self.conv2(out))))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            x = self.downsample["1"](self.downsample["0"](self.shrink(x)))
        return F.relu(out + x)


class MapPool(nn.Module):
    """The mean of a map asks all of its cells, and itself: (B, C, H, W) → (B, C)."""

    def __init__(self, width: int, grid: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.positions = learned(grid**2 + 1, width, std=width**-0.5)
        self.qkv = nn.Linear(width, 3 * width)
        nn.init.normal_(self.qkv.weight, std=width**-0.5)
        nn.init.zeros_(self.qkv.bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        cells_BTC = x_BCHW.flatten(2).transpose(1, 2)
        x_BTC = torch.cat([cells_BTC.mean(1, keepdim=True), cells_BTC], dim=1) + self.positions
        width = x_BTC.shape[2]
        q_B1C = F.linear(x_BTC[:, :1], self.qkv.weight[:width], self.qkv.bias[:width])
        kv = F.linear(x_BTC, self.qkv.weight[width:], self.qkv.bias[width:])
        k_BTNK, v_BTNK = kv.unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        return attention(q_B1C.unflatten(-1, (self.num_heads, -1)), k_BTNK, v_BTNK).flatten(1)
