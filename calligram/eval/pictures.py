"""Pictures of a data set as the CLIP under evaluation reads them."""

from torch import Tensor

from calligram.clip.zero_shot import ClipPipeline
from calligram.data.dataset import Record


def read_picture(record: Record, clip: ClipPipeline) -> Tensor:
    """uint8 (3, S, S), or (3, H, W) for a model that reads native pictures. Raises BadSample.

    A model that was trained elsewhere gets the upright, opaque picture prepared by its own rules.
    """
    config = clip.model.config
    if config.preprocess.is_ours:
        return record.square(config.image_size)  # no more decoded than that takes
    return clip.prepare(record.image())
