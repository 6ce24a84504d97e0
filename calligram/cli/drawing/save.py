"""Pictures that tell how they were made, and animations, as files."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

import calligram
from calligram.cli.find import check_output
from calligram.errors import UserError

FRAME_MS, LAST_FRAME_MS = 80, 2000


def save_picture(image: Image.Image, path: Path, settings: dict[str, Any]) -> None:
    """PNG with the settings as text chunks, which JPEG has not. Written aside first: a file is whole, or not there."""
    info = PngInfo()
    info.add_text("Software", f"calligram {calligram.__version__}")
    for name, value in settings.items():
        if value is not None:
            info.add_text(name, value if isinstance(value, str) else json.dumps(value))
    is_png = path.suffix.lower() == ".png"
    options: dict[str, Any] = {"format": "PNG", "pnginfo": info} if is_png else {"format": "JPEG", "quality": 95}
    _save(image, path, options)


def save_animation(frames: Sequence[Image.Image], path: Path) -> None:
    """A GIF that runs for ever and rests on its last frame."""
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    first, *others = _in_common_colours(frames)
    options = {"format": "GIF", "save_all": True, "append_images": others, "duration": durations, "loop": 0}
    _save(first, path, options)


def _in_common_colours(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """With one palette, made for the first and the last frame: of each frame then only what has changed is stored."""
    both = Image.new("RGB", (frames[0].width, 2 * frames[0].height))
    both.paste(frames[0], (0, 0))
    both.paste(frames[-1], (0, frames[0].height))
    palette = both.quantize(256)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def check_animation(path: Path) -> None:
    """Before any work is spent on it."""
    check_output(path, "--animate", (".gif",))
    Image.init()
    if "GIF" not in Image.SAVE_ALL:
        raise UserError(f"--animate {path}: this Pillow cannot write GIFs; install it anew, or leave --animate out")


def check_writable(path: Path, flag: str) -> None:
    """Raises UserError where a file, or files in a folder, could not be written."""
    existing = path if path.exists() else path.parent
    if not os.access(existing, os.W_OK):
        raise UserError(f"{flag} {path} cannot be written (no permission): choose another place")


def _save(image: Image.Image, path: Path, options: dict[str, Any]) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        image.save(aside, **options)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UserError(f"cannot write {path} ({error.strerror or error}): choose another place") from None
