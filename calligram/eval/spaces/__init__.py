"""Where sets of pictures are compared: features of a named CLIP, or of the Inception network that FID goes with."""

from calligram.eval.space import Space
from calligram.eval.spaces.clip import ClipSpace
from calligram.eval.spaces.inception import InceptionSpace
from calligram.eval.spaces.load import load_space

__all__ = ["ClipSpace", "InceptionSpace", "Space", "load_space"]
