"""One attention function over several backends: xformers on CUDA, PyTorch's own elsewhere.

# B batch, M queries, N keys, H heads, G heads of keys and values, K head width
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from calligram.nn.backend import backend
from calligram.nn.mask import FULL, Mask
from calligram.nn.packed import packed_sdpa
from calligram.nn.picture_attention import picture_attention
from calligram.nn.picture_mask import PictureMask


def attention(q_BMHK: Tensor, k_BNGK: Tensor, v_BNGK: Tensor, mask: Mask | PictureMask = FULL) -> Tensor:
    """Scaled dot-product attention (arXiv 1706.03762), (B, M, H, K) in and out.

    Where keys and values have fewer heads, G, H / G neighbouring heads of the queries share one (arXiv 2305.13245).
    The three may differ in dtype: autocast's, or else that of the values, is what comes out. Never a silent fall-back
    on error: the choice is made beforehand, by ``calligram.nn.backend``. Raises ValueError where the mask does not fit.
    """
    mask.check(q_BMHK.shape[0], q_BMHK.shape[1], k_BNGK.shape[1])
    device, dtype = q_BMHK.device, _dtype(v_BNGK)
    q, k, v = (x.to(dtype) for x in (q_BMHK, k_BNGK, v_BNGK))
    plain = mask if isinstance(mask, Mask) and mask.keys_BN is None else None  # for others xformers has no kernel
    if plain is not None and device.type == "cuda" and backend(device, dtype, q_BMHK.shape[-1]) == "xformers":
        from calligram.nn.xformers_attention import xformers_attention  # never imported on a CPU

        return xformers_attention(q, k, v, plain)
    if device.type == "cpu" and dtype == torch.bfloat16 and torch.is_grad_enabled():
        # measured: going backwards the CPU's kernel is several times slower in bf16 than in fp32
        with torch.autocast("cpu", enabled=False):
            return _sdpa(q.float(), k.float(), v.float(), mask).to(dtype)
    return _sdpa(q, k, v, mask)


def _dtype(x: Tensor) -> torch.dtype:
    """What PyTorch's own attention would compute in; xformers asks for one dtype and knows nothing of autocast."""
    kind = x.device.type
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if autocast else x.dtype


def _sdpa(q_BMHK: Tensor, k_BNGK: Tensor, v_BNGK: Tensor, mask: Mask | PictureMask) -> Tensor:
    if isinstance(mask, PictureMask):
        return picture_attention(q_BMHK, k_BNGK, v_BNGK, mask)
    if mask.packed:
        return packed_sdpa(q_BMHK, k_BNGK, v_BNGK, mask)
    q, k, v = (x.transpose(1, 2) for x in (q_BMHK, k_BNGK, v_BNGK))
    num_queries, num_keys = q.shape[2], k.shape[2]
    causal = mask.causal and num_queries > 1
    written = mask.keys_BN is not None or (causal and num_queries != num_keys)
    sees = mask.matrix(num_queries, num_keys, q.device) if written else None
    grouped = q.shape[1] != k.shape[1]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=sees, is_causal=causal and sees is None, enable_gqa=grouped)
    return out.transpose(1, 2)
