"""A word → the space that it names."""

import re
from pathlib import Path

import torch

from calligram.clip.zero_shot import load_clip
from calligram.errors import UserError
from calligram.eval.space import Space
from calligram.eval.spaces.clip import ClipSpace
from calligram.eval.spaces.inception import InceptionSpace

INCEPTION = "inception:"


def load_space(text: str, device: torch.device | str = "cpu") -> Space:
    """A CLIP's run folder or another word for a CLIP, or ``inception:FILE`` with the weights that FID goes with.

    A file that has "inception" in its name needs no prefix. Raises UserError for what is neither; nothing is fetched
    that the word does not ask for.
    """
    if text.startswith(INCEPTION):
        return InceptionSpace(Path(text.removeprefix(INCEPTION)), device)
    path = Path(text)
    if "inception" in path.name.lower() and not path.is_dir():
        return InceptionSpace(path, device)
    try:
        return ClipSpace(load_clip(text, device), space_name(text))
    except UserError as error:
        raise UserError(
            f"{text} is no space to compare pictures in: give the run of a CLIP or {INCEPTION}FILE ({error})"
        ) from None


def space_name(text: str) -> str:
    """``runs/clip-shapes`` → clip_shapes, ``open_clip:ViT-B-32/openai`` → clip_vit_b_32_openai, ``my/run`` → clip_run.

    The last two parts of what stands behind a prefix are kept, of a path the last alone.
    """
    prefix, _, rest = text.rpartition(":")
    kept = rest if prefix in ("open_clip", "hf") else Path(rest).resolve().name
    words = re.sub(r"[^a-z0-9]+", "_", kept.lower()).strip("_")
    return words if words.startswith("clip") else f"clip_{words}"
