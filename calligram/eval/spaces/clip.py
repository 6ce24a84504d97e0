"""The image tower of a CLIP as a space (arXiv 2203.06026: with one, FID follows more than ImageNet's classes).

# B pictures, E embedding
"""

from torch import Tensor

from calligram.clip.zero_shot import ClipPipeline
from calligram.pictures import to_image


class ClipSpace:
    """Unit vectors of a CLIP; a picture of another size than the model's is scaled as in training."""

    def __init__(self, clip: ClipPipeline, name: str):
        self.clip, self.name = clip, name

    def embed(self, images_uint8: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → fp32 (B, E) on the CPU."""
        return embed(self.clip, images_uint8).float().cpu()


def embed(clip: ClipPipeline, images_uint8: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) of any size → (B, E)."""
    config = clip.model.config
    as_they_are = not config.preprocess.is_native and images_uint8.shape[-2:] == (config.image_size,) * 2
    return clip.embed_images(images_uint8 if as_they_are else [to_image(image) for image in images_uint8])
