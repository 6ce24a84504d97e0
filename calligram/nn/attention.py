"""One attention function over several backends: xformers on CUDA, PyTorch's own elsewhere.

# B batch, M queries, N keys, H heads, K head width
"""

import functools
import logging

import torch
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)


def attention(q_BMHK: Tensor, k_BNHK: Tensor, v_BNHK: Tensor, causal: bool = False) -> Tensor:
    """Scaled dot-product attention, (B, M, H, K) in and out.

    ``causal`` aligns the last query with the last key, so that one query over a filled cache sees all
    of it and equal lengths give the usual lower triangle. Memory-efficient attention (arXiv
    2112.05682) through xformers where it supports the device and dtype; never a silent fall-back on
    error: the choice is made beforehand, by :func:`backend`.
    """
    causal = causal and q_BMHK.shape[1] > 1
    if backend(q_BMHK.device.type, q_BMHK.dtype, q_BMHK.shape[-1]) == "xformers":
        return _xformers(q_BMHK, k_BNHK, v_BNHK, causal)
    if q_BMHK.device.type == "cpu" and q_BMHK.dtype == torch.bfloat16 and torch.is_grad_enabled():
        # measured: going backwards the CPU's kernel is several times slower in bf16 than in fp32
        with torch.autocast("cpu", enabled=False):
            return _sdpa(q_BMHK.float(), k_BNHK.float(), v_BNHK.float(), causal).to(q_BMHK.dtype)
    return _sdpa(q_BMHK, k_BNHK, v_BNHK, causal)


@functools.cache
def backend(device_type: str, dtype: torch.dtype, head_width: int) -> str:
    """Name of the backend for this kind of input, "xformers" or "sdpa"; logged once for each kind."""
    # fp32 has no xformers kernel on every generation of card; half precision has one from sm80 on
    has_kernel = dtype in (torch.float16, torch.bfloat16) and head_width % 8 == 0 and head_width <= 256
    chosen = "sdpa"
    if device_type == "cuda" and has_kernel and torch.cuda.get_device_capability() >= (8, 0):
        chosen = "xformers" if _xformers_works() else "sdpa"
    log.info("attention: %s for %s, %s, head width %d", chosen, device_type, dtype, head_width)
    return chosen


def _xformers_works() -> bool:
    try:
        import xformers  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        return False
    # The wheel imports even when its CUDA library is missing, and then refuses every CUDA tensor.
    if not xformers._cpp_lib._built_with_cuda:
        log.warning("xformers cannot load its CUDA kernels: pip install nvidia-cuda-runtime-cu12")
        return False
    return True


def _xformers(q_BMHK: Tensor, k_BNHK: Tensor, v_BNHK: Tensor, causal: bool) -> Tensor:
    from xformers import ops  # pyright: ignore[reportMissingImports]  # an extra
    from xformers.ops.fmha import attn_bias as masks  # pyright: ignore[reportMissingImports]

    bias = None
    if causal:
        same_length = q_BMHK.shape[1] == k_BNHK.shape[1]
        bias = masks.LowerTriangularMask() if same_length else masks.LowerTriangularFromBottomRightMask()
    return ops.memory_efficient_attention(q_BMHK, k_BNHK, v_BNHK, attn_bias=bias)


def _sdpa(q_BMHK: Tensor, k_BNHK: Tensor, v_BNHK: Tensor, causal: bool) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q_BMHK, k_BNHK, v_BNHK))
    num_queries, num_keys = q.shape[2], k.shape[2]
    mask = None
    if causal and num_queries != num_keys:
        mask = torch.ones(num_queries, num_keys, dtype=torch.bool, device=q.device).tril(num_keys - num_queries)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and mask is None)
    return out.transpose(1, 2)
