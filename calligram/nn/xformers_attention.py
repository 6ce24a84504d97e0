"""Memory-efficient attention (arXiv 2112.05682) of xformers; imported only where ``backend`` chose it.

# B batch, M queries, N keys, H heads, G heads of keys and values, K head width
"""

import functools
from typing import Any

import torch
from torch import Tensor
from xformers import ops  # pyright: ignore[reportMissingImports]  # an extra
from xformers.ops.fmha import attn_bias as biases  # pyright: ignore[reportMissingImports]

from calligram.nn.eager import eager
from calligram.nn.mask import Mask


# dynamo cannot follow its dispatch, and would compile anew for each set of packed lengths
@eager
def xformers_attention(q_BMHK: Tensor, k_BNGK: Tensor, v_BNGK: Tensor, mask: Mask) -> Tensor:
    """The attention of ``calligram.nn.attention``, by xformers' kernels. Raises NotImplementedError without one."""
    bias = bias_of(mask, q_BMHK.shape[1], k_BNGK.shape[1], q_BMHK.device)
    num_heads, num_groups = q_BMHK.shape[2], k_BNGK.shape[2]
    if num_heads == num_groups:
        return ops.memory_efficient_attention(q_BMHK, k_BNGK, v_BNGK, attn_bias=bias)
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q_BMHK, k_BNGK, v_BNGK)):
        # groups have no backward pass there
        k, v = (x.repeat_interleave(num_heads // num_groups, dim=2) for x in (k_BNGK, v_BNGK))
        return ops.memory_efficient_attention(q_BMHK, k, v, attn_bias=bias)
    q = q_BMHK.unflatten(2, (num_groups, -1))
    k, v = (x[:, :, :, None].expand(-1, -1, -1, q.shape[3], -1) for x in (k_BNGK, v_BNGK))
    return ops.memory_efficient_attention(q, k, v, attn_bias=bias).flatten(2, 3)


def bias_of(mask: Mask, num_queries: int, num_keys: int, device: torch.device) -> Any:
    """xformers' name for a mask; None for none."""
    if mask.seqlens is not None:
        return _block_diagonal(mask.causal, *mask.lengths, device)
    if not mask.causal or num_queries == 1:
        return None
    # its LowerTriangularMask starts at the first key
    return biases.LowerTriangularMask() if num_queries == num_keys else biases.LowerTriangularFromBottomRightMask()


@functools.lru_cache(maxsize=4)  # each layer asks for the same
@torch.inference_mode(False)  # the next to ask may need gradients
def _block_diagonal(causal: bool, queries: tuple[int, ...], keys: tuple[int, ...], device: torch.device) -> Any:
    kind = biases.BlockDiagonalCausalMask if causal else biases.BlockDiagonalMask
    # to the device in a second step: its own way there needs pinned memory
    return kind.from_seqlens(list(queries), list(keys), device=torch.device("cpu")).to(device)
