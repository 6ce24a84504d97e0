"""Is a CLIP in order? Asked once, before figures are taken from it that nobody could tell from those of a weak one.

# B pictures or texts, E embedding
"""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from calligram.clip.zero_shot import ClipPipeline
from calligram.errors import UserError

PICTURES = 3  # unlike the number of texts, so that towers that answer for each other show
TEXTS = ("a red circle", "two dogs on a beach", "a", "the number seven, written by hand")
LENGTH_TOLERANCE = 0.02  # bfloat16 keeps three digits
ROW_TOLERANCE = 0.05
SAME = 1e-6  # vectors of different pictures that differ by less are one


def check_clip(clip: ClipPipeline, name: str) -> None:
    """Raises UserError unless both towers give each input a finite unit vector of its own, whatever is beside it."""
    pictures = _pictures(clip.model.config.image_size)
    _check(f"{name}: its image tower", "picture", lambda rows: clip.embed_images([pictures[i] for i in rows]), PICTURES)
    texts = lambda rows: clip.embed_texts([TEXTS[i] for i in rows], strict=False)  # noqa: E731
    _check(f"{name}: its text tower", "text", texts, len(TEXTS))


def _pictures(size: int) -> list[Image.Image]:
    """Noise of few colours, a different one each: nothing that is all one grey after a tower's first layer."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (PICTURES, size, size, 3), generator=generator, dtype=torch.uint8)
    for number in range(PICTURES):
        noise[number, ..., number] //= 4
    return [Image.fromarray(each.numpy()) for each in noise]


def _check(tower: str, noun: str, embed: Callable[[Sequence[int]], Tensor], count: int) -> None:
    try:
        vector_BE = embed(range(count)).float().cpu()
        alone_BE = embed([count - 1]).float().cpu()
    except UserError:
        raise
    except Exception as error:  # such as the other tower, which cannot read this
        raise UserError(
            f"{tower} cannot read a {noun} ({type(error).__name__}: {error}): it is not evaluated; are the towers "
            "swapped, or is the model damaged?"
        ) from error
    problem = _problem(vector_BE, alone_BE, noun, count)
    if problem is not None:
        raise UserError(f"{tower} {problem}: it is not evaluated; the model is damaged, or not trained at all")


def _problem(vector_BE: Tensor, alone_BE: Tensor, noun: str, count: int) -> str | None:
    if vector_BE.ndim != 2 or len(vector_BE) != count or alone_BE.shape != (1, vector_BE.shape[-1]):
        return f"gives {tuple(vector_BE.shape)} for {count} {noun}s, not a vector each"
    if not vector_BE.isfinite().all():
        return f"gives vectors that are not finite for a {noun}"
    lengths_B = vector_BE.norm(dim=-1)
    if (lengths_B - 1).abs().max() > LENGTH_TOLERANCE:
        return f"gives a vector of length {float(lengths_B[(lengths_B - 1).abs().argmax()]):.3g}, not 1, for a {noun}"
    if (vector_BE[1:] - vector_BE[:1]).abs().max() < SAME:
        return f"gives the same vector for {count} different {noun}s"
    if (vector_BE[-1] - alone_BE[0]).abs().max() > ROW_TOLERANCE:
        return f"gives another vector for a {noun} that comes alone than for the same among others"
    return None
