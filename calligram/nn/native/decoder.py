"""A Transformer and its head as one call of C: :class:`NativeDecoder`.

# B batch, M new tokens, D width, V vocabulary, S places, K head width
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from calligram.nn.llama import Llama, LlamaConfig
from calligram.nn.native import structs
from calligram.nn.native.build import library
from calligram.nn.native.cache import BlockCache
from calligram.nn.native.structs import address
from calligram.nn.native.weights import ACTIVATIONS, SILU, Kept, Precision, blocks_of, hidden_width
from calligram.nn.transformer import Transformer


class NativeDecoder:
    """Reads embedded tokens into a cache and gives logits, as the Transformer and a matrix behind it would.

    Each row is computed in one order of sums: the same bits in every batch. ``sees``: for each layer which keys a place
    sees, (S, S) bool, or None for all before it.
    """

    def __init__(
        self,
        transformer: Transformer | Llama,
        head_VD: Tensor,
        bias_V: Tensor | None,
        sees: Sequence[Tensor | None],
        precision: Precision,
    ):
        functions = library()
        if functions is None:
            raise RuntimeError("there is no compiled step")
        self._run = functions.decoder_pass
        self._kept = kept = Kept(precision)
        layers = [kept.layer(block) for block in blocks_of(transformer)]
        self.sees_stride = 0
        for layer, sees_SS in zip(layers, sees, strict=True):
            if sees_SS is not None:
                layer.sees = kept.tensor(sees_SS.to(torch.uint8))
                self.sees_stride = sees_SS.shape[1]
        self._layers = (structs.Layer * len(layers))(*layers)
        self._sees = [layer.sees for layer in layers]
        config = transformer.config
        gated = isinstance(config, LlamaConfig)
        self.groups = config.kv_heads if isinstance(config, LlamaConfig) else config.num_heads
        activation = SILU if isinstance(config, LlamaConfig) else ACTIVATIONS[config.activation]
        self.width, self.heads, self.head_width = config.width, config.num_heads, config.head_width
        self.vocab_size, self.num_layers = len(head_VD), config.num_layers
        self.mlp_rows = layers[0].mlp_in.rows
        self._model = structs.Model(
            config.num_layers, config.width, config.num_heads, self.groups, config.head_width,
            hidden_width(transformer), activation, gated,
        )  # fmt: skip
        self._model.layers = ctypes.cast(self._layers, ctypes.POINTER(structs.Layer))
        self._model.norm = kept.norm(transformer.norm)
        self._model.head = kept.matrix([head_VD], [bias_V])
        self._scratch = torch.empty(0)

    @property
    def num_bytes(self) -> int:
        """Of all weights that a pass reads."""
        return sum(x.numel() * x.element_size() for x in self._kept.tensors)

    def new_cache(self, batch: int, capacity: int) -> BlockCache:
        return BlockCache(self.num_layers, batch, capacity, self.groups, self.head_width)

    def read(self, x_BMD: Tensor, cache: BlockCache, last_only: bool = False) -> Tensor:
        """Logits behind each of the new tokens, (B, M, V), or behind the last alone, (B, 1, V)."""
        batch, new_tokens, _ = x_BMD.shape
        if cache.length + new_tokens > cache.capacity:
            raise ValueError(f"{cache.length + new_tokens} tokens are more than the capacity of {cache.capacity}")
        x = x_BMD.detach().clone(memory_format=torch.contiguous_format)  # the C code adds to it
        logits = torch.empty(batch, 1 if last_only else new_tokens, self.vocab_size)
        threads = torch.get_num_threads()
        step = structs.Pass(batch, new_tokens, cache.length, cache.capacity, cache.keys.stride(0), last_only)
        step.keys, step.values = address(cache.keys), address(cache.values)
        step.x, step.logits = address(x), address(logits)
        if cache.rotation is not None:
            rotation = cache.rotation
            step.rotation = rotation.data_ptr() + 4 * cache.length * rotation.stride(1)
            step.rotation_stride = rotation.stride(0) if len(rotation) > 1 else 0
        skip = None if cache.skip_B is None else cache.skip_B.contiguous()
        step.skip = address(skip)
        self._point_masks_to(cache.length)
        step.sees_stride = self.sees_stride
        step.scratch, step.threads = address(self._scratch_of(batch * new_tokens, threads, cache.capacity)), threads
        self._run(ctypes.byref(self._model), ctypes.byref(step))
        cache.length += new_tokens
        return logits

    def _point_masks_to(self, length: int) -> None:
        if self.sees_stride:
            for layer, start in zip(self._layers, self._sees, strict=True):
                layer.sees = start and start + length * self.sees_stride

    def _scratch_of(self, rows: int, threads: int, capacity: int) -> Tensor:
        heads, groups, head_width = self.heads, self.groups, self.head_width
        row = self.width + (2 * heads + 2 * groups) * head_width + self.mlp_rows
        number = rows * row + threads * (heads // groups) * capacity
        if len(self._scratch) < number:
            self._scratch = torch.empty(number)
        return self._scratch
