"""LPIPS (arXiv 1801.03924), where torchvision's weights of VGG-16 are at hand; torchmetrics brings the few others."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from calligram.errors import UserError
from calligram.files import read_tensors


def load_lpips(path: Path, device: torch.device | str = "cpu") -> Callable[[Tensor, Tensor], Tensor]:
    """From torchvision's ``vgg16`` state dict, as .pth or safetensors: pictures in 0 … 1 → their mean distance."""
    distance = load_lpips_of_each(path, device)
    return lambda rebuilt, images: distance(rebuilt, images).mean()


def load_lpips_of_each(path: Path, device: torch.device | str = "cpu") -> Callable[[Tensor, Tensor], Tensor]:
    """The same: pictures (B, 3, H, W) in 0 … 1 → the distance of each pair, (B,)."""
    from torchmetrics.functional.image.lpips import _LPIPS

    model = _LPIPS(pretrained=True, net="vgg", pnet_rand=True)
    state = read_tensors(path)
    for name, target in model.net.state_dict().items():
        theirs = "features." + name.partition(".")[2]  # slice2.5.weight is features.5.weight
        if theirs not in state or state[theirs].shape != target.shape:
            raise UserError(f"{path} is no VGG-16 of torchvision: it has no {theirs} of {tuple(target.shape)}")
        target.copy_(state[theirs])
    model = model.to(device).eval()
    return lambda rebuilt, images: model(rebuilt, images, normalize=True).flatten()
