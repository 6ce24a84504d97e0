"""By what figures were measured: versions of code and libraries, and the machine."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = (
    "calligram",
    "torch",
    "torchvision",
    "torchmetrics",
    "scikit-learn",
    "numpy",
    "pillow",
    "safetensors",
    "tokenizers",
    "open_clip_torch",
    "transformers",
    "timm",
)


def versions() -> dict[str, str | None]:
    """None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def machine(device: torch.device | str = "cpu") -> str:
    """``x86_64, 2 threads``, or the name of the GPU."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads"
