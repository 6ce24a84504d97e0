"""The numeric format of the forward pass, and the scaling of losses that fp16 needs."""

import contextlib
import logging
import os

import torch

log = logging.getLogger(__name__)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def make_deterministic() -> None:
    """The same bits from the same steps, also from libraries that have quicker ways; before anything runs on a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def autocast_for(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    if precision == "fp32":
        return contextlib.nullcontext()
    if device.type == "cpu" and not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        # measured on an AVX2 machine: a 1024-cubed product takes 125 times as long as in fp32
        log.warning(f"this CPU has no {precision} instructions: it is far slower than --train.precision fp32 on it")
    return torch.autocast(device.type, DTYPES[precision])


def scaler_for(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Does nothing but for fp16, whose gradients would vanish."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
