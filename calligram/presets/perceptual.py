"""What other models think of the difference between a picture and its reconstruction.

# B pictures, T places of a layer, D its channels
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calligram.clip.load import load_model
from calligram.clip.model import Clip
from calligram.errors import UserError
from calligram.tokenizers.losses import TokenizerLossConfig
from calligram.tokenizers.lpips import load_lpips
from calligram.tokenizers.task import Distance


def distances(config: TokenizerLossConfig, device: torch.device | str) -> dict[str, tuple[float, Distance]]:
    """Those that a config asks for, with their weights. Raises UserError for a run or file that does not serve."""
    found: dict[str, tuple[float, Distance]] = {}
    if config.perceptual is not None and config.perceptual_weight:
        found["perceptual"] = (config.perceptual_weight, clip_distance(config.perceptual, device))
    if config.lpips is not None and config.lpips_weight:
        found["lpips"] = (config.lpips_weight, load_lpips(config.lpips, device))
    return found


def clip_distance(run: Path, device: torch.device | str) -> Distance:
    """Between the directions of the features at each place, averaged over places and then over the layers of a CLIP."""
    model, _ = load_model(run)
    features = ClipFeatures(model.to(device), f"--loss.perceptual {run}")

    def distance(rebuilt: Tensor, images: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = features(images)
        pairs = zip(features(rebuilt), wanted, strict=True)
        return torch.stack([(a - b).square().sum(-1).mean() for a, b in pairs]).mean()

    return distance


class ClipFeatures:
    """Pictures (B, 3, H, W), 0 … 1 → what the layers of a frozen CLIP make of them, (B, T, D), vectors of length 1.

    No module, so that whatever trains a tokenizer does not take its weights for some of its own.
    """

    def __init__(self, model: Clip, name: str):
        self.model = model.eval().requires_grad_(False)
        self.layers = _layers(model.visual)
        if not self.layers:
            raise UserError(
                f"{name}: its image tower has no layers that are known here; take one of type vit or resnet"
            )

    def __call__(self, images: Tensor) -> list[Tensor]:
        size = self.model.config.image_size
        if images.shape[-1] != size:
            images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        found: list[Tensor] = []
        hooks = [layer.register_forward_hook(_keeper(found)) for layer in self.layers]
        try:
            self.model.encode_image(images)
        finally:
            for hook in hooks:
                hook.remove()
        return [F.normalize(x.float(), dim=-1) for x in found]


def _layers(tower: nn.Module) -> list[nn.Module]:
    """The stem and the blocks of a Transformer, or the stages of a ResNet."""
    names = dict(tower.named_modules())
    blocks = names.get("transformer.blocks")
    if isinstance(blocks, nn.ModuleList):
        stem = names["stem"]
        return [*([] if isinstance(stem, nn.Identity) else [stem]), *blocks]
    return [names[name] for name in ("layer1", "layer2", "layer3", "layer4") if name in names]


def _keeper(found: list[Tensor]) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        found.append(output.flatten(2).transpose(1, 2) if output.ndim == 4 else output)

    return keep
