"""The network that FID, KID and the rest were defined on, for those who have its weights on disk.

It is the Inception v3 that Google published in 2015. It differs from torchvision's in what its pools do at the border,
in its last block, in how a picture is scaled, and has 1,008 classes; names of weights are the same, those of
``pt_inception-2015-12-05-6726825d.pth`` (pytorch-fid) and ``weights-inception-2015-12-05-6726825d.pth``
(torch-fidelity).

# B pictures, D = 2048 features
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.inception import Inception3, InceptionA, InceptionC, InceptionE

from calligram.errors import UserError
from calligram.files import read_tensors

SIZE = 299  # pixels a side
NUM_CLASSES = 1008
BATCH = 32


class InceptionSpace:
    """The 2,048 features before the classifier. ``path`` is never unpickled, and nothing is fetched."""

    name = "inception"

    def __init__(self, path: Path, device: torch.device | str = "cpu"):
        self.model = build(read_tensors(path), path).to(device)
        self.device = device

    @torch.inference_mode()
    def embed(self, images_uint8: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → fp32 (B, D) on the CPU."""
        parts = [self.model(to_input(part.to(self.device))) for part in images_uint8.split(BATCH)]
        return torch.cat([part.cpu() for part in parts]) if parts else torch.empty(0, 2048)


def build(state: dict[str, Tensor], path: Path) -> nn.Module:
    """The network with these weights. Raises UserError where a weight is missing or of another shape."""
    model = _FidInception()
    wanted = {name: x for name, x in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    for name, x in wanted.items():
        if name not in state or state[name].shape != x.shape:
            raise UserError(f"{path} is not the Inception that FID goes with: it has no {name} of {tuple(x.shape)}")
    model.load_state_dict({name: state[name] for name in wanted}, strict=False)
    return model.eval().requires_grad_(False)


def to_input(images_uint8: Tensor) -> Tensor:
    """Any size → (B, 3, 299, 299), −1 … 1, as TensorFlow 1 did it: bilinear, corners of pixels on corners of pixels."""
    images = images_uint8.float()
    for axis in (2, 3):
        images = _resize(images, axis)
    return (images - 128) / 128


def _resize(images: Tensor, axis: int) -> Tensor:
    size = images.shape[axis]
    place = torch.arange(SIZE, device=images.device) * (size / SIZE)  # no half pixel is added before scaling
    low = place.floor().long().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    weight = (place - low).view([-1 if number == axis else 1 for number in range(4)])
    return torch.lerp(images.index_select(axis, low), images.index_select(axis, high), weight)


class _FidInception(Inception3):
    def __init__(self) -> None:
        super().__init__(num_classes=NUM_CLASSES, aux_logits=False, transform_input=False, init_weights=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _A(192, 32), _A(256, 64), _A(288, 64)
        self.Mixed_6b, self.Mixed_6c = _C(768, 128), _C(768, 160)
        self.Mixed_6d, self.Mixed_6e = _C(768, 160), _C(768, 192)
        self.Mixed_7b, self.Mixed_7c = _E(1280), _MaxE(2048)

    def forward(self, x: Tensor) -> Tensor:
        for name, layer in self.named_children():  # which stand in the order in which they are used
            if name not in ("dropout", "fc"):
                x = layer(x)
        return x.flatten(1)


class _A(InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(_mean_pool(x))]


class _C(InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return [self.branch1x1(x), single, double, self.branch_pool(_mean_pool(x))]


class _E(InceptionE):
    def _forward(self, x: Tensor) -> list[Tensor]:
        single, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return [
            self.branch1x1(x),
            torch.cat([self.branch3x3_2a(single), self.branch3x3_2b(single)], 1),
            torch.cat([self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)], 1),
            self.branch_pool(self._pool(x)),
        ]

    def _pool(self, x: Tensor) -> Tensor:
        return _mean_pool(x)


class _MaxE(_E):
    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=1, padding=1)


def _mean_pool(x: Tensor) -> Tensor:
    """Of the pixels that are there: zeros beyond the border do not count."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
