"""What is there of pictures while they are drawn, token by token.

# B pictures, N image tokens, F frames of an animation, H W pixels
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from calligram.nn.image import to_uint8
from calligram.pictures import to_image
from calligram.tokenizers.image import ImageTokenizer

GREY = 200  # of 255: where nothing is drawn yet
FRAMES_AT_ONCE = 16


@dataclass(frozen=True)
class HalfDrawn:
    """Pictures on the way: handed to whoever watches, after each step of the drawing.

    ``tokens_BN`` holds anything where ``known_N`` is False. ``first`` is the place of the first of these pictures among
    all that are asked for, where those are drawn in several batches.
    """

    tokens_BN: Tensor
    known_N: Tensor
    tokenizer: ImageTokenizer
    first: int = 0

    @property
    def num_known(self) -> int:
        """Tokens of a picture that are there; all pictures of a batch are equally far."""
        return int(self.known_N.sum())

    @property
    def num_tokens(self) -> int:
        """Tokens of a whole picture."""
        return len(self.known_N)

    def images(self) -> list[Image.Image]:
        """The pictures as far as they are drawn, the rest grey. It costs a pass of the image decoder."""
        return [to_image(x) for x in reveal(self.tokenizer, self.tokens_BN, self.known_N).cpu()]


WatchPictures = Callable[[HalfDrawn], None]


@torch.inference_mode()
def reveal(tokenizer: ImageTokenizer, tokens_BN: Tensor, known_N: Tensor) -> Tensor:
    """Pictures of which the tokens of ``known_N`` are there, uint8 (B, 3, H, W), grey in the cells of the others.

    A decoder looks beyond a cell's edge: there it is shown the last known token before, in place of what is to come.
    """
    known_N = known_N.to(tokens_BN.device)
    return cover(to_uint8(tokenizer.decode(_filled(tokens_BN, known_N))), known_N, tokenizer.grid)


def cover(pixels: Tensor, known_N: Tensor, grid: int) -> Tensor:
    """Whole pictures, uint8 (B, 3, H, W), with grey in the cells outside ``known_N``."""
    cell = pixels.shape[-1] // grid
    known_hw = known_N.to(pixels.device).unflatten(0, (grid, -1))
    return torch.where(known_hw.repeat_interleave(cell, 0).repeat_interleave(cell, 1), pixels, GREY)


def _filled(tokens_BN: Tensor, known_N: Tensor) -> Tensor:
    """Each unknown token becomes the last known one before it; before the first known one, token 0."""
    place_N = torch.arange(len(known_N), device=known_N.device)
    last_known_N = torch.where(known_N, place_N, -1).cummax(0).values
    return torch.where(last_known_N < 0, 0, tokens_BN[:, last_known_N.clamp(min=0)])


def drawing_frames(
    tokenizer: ImageTokenizer, tokens_BN: Tensor, keep_N: Tensor | None = None, max_frames: int = 40
) -> Tensor:
    """How finished pictures came about, uint8 (F, B, 3, H, W), F of at most ``max_frames``.

    The first frame has the tokens of ``keep_N`` alone, which were given, the last one all. Tokens are drawn in
    raster order, and none changes afterwards: nothing need be recorded for it.
    """
    num_tokens = tokens_BN.shape[1]
    kept_N = torch.zeros(num_tokens, dtype=torch.bool) if keep_N is None else keep_N.cpu()
    rank_N = (~kept_N).cumsum(0)  # when a token is drawn: the first as number 1
    num_drawn = int(rank_N[-1]) if num_tokens else 0
    counts = torch.linspace(0, num_drawn, min(max_frames, num_drawn + 1)).round().int()
    known_FN = kept_N | (rank_N <= counts[:, None])
    frames = [_frame(tokenizer, tokens_BN, known_N) for known_N in known_FN]
    return torch.stack(frames)


def _frame(tokenizer: ImageTokenizer, tokens_BN: Tensor, known_N: Tensor) -> Tensor:
    parts = tokens_BN.split(FRAMES_AT_ONCE)
    return torch.cat([reveal(tokenizer, part, known_N) for part in parts]).cpu()
