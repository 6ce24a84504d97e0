"""The weights of our decoders as the C code takes them: fp32, bf16 or int8 with a scale for each output.

# O outputs, I inputs
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from calligram.nn.llama import Llama, LlamaBlock
from calligram.nn.native import structs
from calligram.nn.native.memory import Arena
from calligram.nn.transformer import Block, Transformer

Precision = Literal["fp32", "bf16", "int8"]
KINDS = {"fp32": 0, "bf16": 1, "int8": 2}
ACTIVATIONS = {"gelu": 0, "quick_gelu": 1, "gelu_tanh": 2}
SILU = 3


def to_int8(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from −127 to 127 and the scale (O,) of each row, so that their product is nearest to the weight."""
    scale_O = weight_OI.abs().amax(1).clamp(min=1e-30) / 127
    return (weight_OI / scale_O[:, None]).round().clamp(-127, 127).to(torch.int8), scale_O


def rounded(weight_OI: Tensor, precision: Precision) -> Tensor:
    """What is left of a weight in another precision, in the weight's own dtype."""
    if precision == "bf16":
        return weight_OI.bfloat16().to(weight_OI.dtype)
    if precision == "int8":
        whole_OI, scale_O = to_int8(weight_OI)
        return whole_OI.to(weight_OI.dtype) * scale_O[:, None]
    return weight_OI


@dataclass
class Kept:
    """Makes structs of tensors, and keeps the tensors alive that these point into."""

    precision: Precision
    tensors: list[Tensor] = field(default_factory=list)
    arena: Arena = field(default_factory=Arena)

    def tensor(self, x: Tensor | None) -> int | None:
        if x is None:
            return None
        x = self.arena.copy(x.detach())
        self.tensors.append(x)
        return x.data_ptr()

    def matrix(self, weights: list[Tensor], biases: list[Tensor | None]) -> structs.Matrix:
        """Several layers that read the same input as one."""
        weight_OI = weights[0].detach() if len(weights) == 1 else torch.cat([x.detach() for x in weights])
        given = [x.detach() for x in biases if x is not None]
        rows, columns = weight_OI.shape
        scale = None
        if self.precision == "int8":
            weight_OI, scale_O = to_int8(weight_OI)
            scale = self.tensor(scale_O)
        elif self.precision == "bf16":
            weight_OI = weight_OI.bfloat16()
        bias = self.tensor(torch.cat(given)) if given else None
        return structs.Matrix(self.tensor(weight_OI), scale, bias, rows, columns, KINDS[self.precision])

    def linear(self, *layers: nn.Linear) -> structs.Matrix:
        return self.matrix([x.weight for x in layers], [x.bias for x in layers])

    def norm(self, norm: nn.Module) -> structs.Norm:
        if isinstance(norm, nn.LayerNorm):
            return structs.Norm(self.tensor(norm.weight), self.tensor(norm.bias), norm.eps)
        if isinstance(norm, nn.RMSNorm):
            return structs.Norm(self.tensor(norm.weight), None, norm.eps or torch.finfo(torch.float32).eps)
        return structs.Norm(None, None, 0.0)

    def layer(self, block: Block | LlamaBlock) -> structs.Layer:
        layer = structs.Layer()
        layer.norm_1, layer.norm_2 = self.norm(block.norm_1), self.norm(block.norm_2)
        layer.out = self.linear(block.attention.out)
        if isinstance(block, LlamaBlock):
            attention = block.attention
            layer.query_norm, layer.key_norm = self.norm(attention.query_norm), self.norm(attention.key_norm)
            layer.qkv = self.linear(attention.query, attention.key, attention.value)
            layer.mlp_in, layer.mlp_out = self.linear(block.gate, block.up), self.linear(block.down)
        else:
            layer.qkv = self.linear(block.attention.qkv)
            layer.mlp_in, layer.mlp_out = self.linear(block.mlp_in), self.linear(block.mlp_out)
        return layer


def misfit(transformer: nn.Module) -> str | None:
    """Why the C code cannot stand for a Transformer, or None: where it can."""
    if not isinstance(transformer, (Transformer, Llama)):
        return f"it does not know a {type(transformer).__name__}"
    weight, config = transformer.norm.weight, transformer.config
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return f"it runs on CPUs in fp32, the model is on {weight.device.type} in {weight.dtype}"
    hidden = hidden_width(transformer)
    for name, number in (("width", config.width), ("head width", config.head_width), ("hidden width", hidden)):
        if number % 8:
            return f"{name} {number} is not divisible by 8"
    if config.head_width > 256:
        return f"head width {config.head_width} is above 256"
    return None


def hidden_width(transformer: Transformer | Llama) -> int:
    """Of the MLPs."""
    block = transformer.blocks[0]
    if isinstance(block, LlamaBlock):
        return block.gate.out_features
    assert isinstance(block, Block)
    return block.mlp_in.out_features


def blocks_of(transformer: Transformer | Llama) -> list[Block | LlamaBlock]:
    return [block for block in transformer.blocks if isinstance(block, (Block, LlamaBlock))]
