"""Which library computes attention: xformers where it has a kernel for the card, PyTorch's own elsewhere."""

import functools
import logging

import torch

log = logging.getLogger(__name__)

_HALF = (torch.float16, torch.bfloat16)
# their blocks have the shared memory that the backward pass of flash attention wants for wide heads
_WIDE_HEADS = ((8, 0), (9, 0), (10, 0))


def supported(dtype: torch.dtype, head_dim: int, capability: tuple[int, int]) -> bool:
    """Whether xformers 0.0.35 has kernels, forward and backward and for each of our masks, on such a card.

    Half precision from compute capability 8.0 on is flash attention 2 (arXiv 2307.08691), whose heads are multiples of
    8 up to 256, on most cards up to 192. What is left goes to the CUTLASS kernels, which end with 9.0: fp32 in
    multiples of 4, and fp16 on Turing.
    """
    if dtype in _HALF and capability >= (8, 0):
        return head_dim % 8 == 0 and head_dim <= (256 if capability in _WIDE_HEADS else 192)
    if dtype == torch.float16:
        return head_dim % 8 == 0 and capability >= (7, 5)
    return dtype == torch.float32 and head_dim % 4 == 0 and (7, 5) <= capability <= (9, 0)


@functools.cache
def backend(device: torch.device, dtype: torch.dtype, head_dim: int) -> str:
    """Name of the backend for this kind of input, "xformers" or "sdpa"; logged once for each kind."""
    chosen = "sdpa"
    if device.type == "cuda" and supported(dtype, head_dim, torch.cuda.get_device_capability(device)):
        chosen = "xformers" if xformers_works() else "sdpa"
    log.info("attention: %s for %s, %s, head width %d", chosen, device.type, dtype, head_dim)
    return chosen


@functools.cache
def xformers_works() -> bool:
    """False where xformers is missing, or cannot load its kernels, which is told once with the remedy."""
    try:
        from xformers import _cpp_lib  # pyright: ignore[reportMissingImports]  # an extra
    except ModuleNotFoundError as error:
        if error.name != "xformers":  # it is there and broken
            raise
        return False
    # The wheel imports even when its CUDA library is missing, and then refuses every CUDA tensor.
    if not _cpp_lib._built_with_cuda:
        log.warning(
            "xformers cannot load its CUDA kernels and PyTorch's attention stands in: "
            "pip install nvidia-cuda-runtime-cu12"
        )
    return _cpp_lib._built_with_cuda
