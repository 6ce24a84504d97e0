"""Pictures that a drawing starts from: to complete, to vary, and the masks of what is to change."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from calligram.cli.console import say
from calligram.cli.drawing.flags import Flags
from calligram.cli.pictures import reopen
from calligram.data.decode import BadImage, decode_image
from calligram.data.picture_file import FORMATS
from calligram.errors import UserError
from calligram.pictures import shrink_exactly

if TYPE_CHECKING:
    from torch import Tensor

    from calligram.dalle.drawer import Basis, Drawer


def build_basis(dalle: "Drawer", flags: Flags) -> "Basis | None":
    """What the flags start from; None for a drawing from nothing."""
    from calligram.dalle.completion import TRIES
    from calligram.dalle.variation import STRENGTH

    size, grid = dalle.image_tokenizer.config.image_size, dalle.image_tokenizer.grid
    if flags.vary is not None:
        image = read_picture(flags.vary, "--vary", size)
        strength = STRENGTH if flags.strength is None else flags.strength
        try:
            return dalle.variation(image, strength, flags.source_prompt)
        except UserError as error:
            raise UserError(f"--source-prompt: {error}") from None
    if flags.complete is None:
        return None
    image = read_picture(flags.complete, "--complete", size)
    if flags.mask is not None:
        mask = _open_mask(flags.mask)
        return dalle.completion(image, mask=mask, tries=flags.tries or TRIES)
    try:
        return dalle.completion(image, rows=grid // 2 if flags.keep_rows is None else flags.keep_rows)
    except UserError as error:
        raise UserError(f"--keep-rows: {error}") from None


def describe_basis(flags: Flags) -> dict[str, Any]:
    """For the metadata of what is drawn."""
    names = ("complete", "keep_rows", "mask", "tries", "vary", "strength", "source_prompt")
    values = {name: getattr(flags, name) for name in names}
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in values.items() if value is not None
    }


def given_picture(dalle: "Drawer", basis: "Basis") -> "tuple[Tensor, str]":
    """What a basis gives, as its tokens show it, uint8 (3, H, W), grey where it gives nothing; and a name for it."""
    from calligram.dalle.completion import Completion
    from calligram.dalle.preview import cover

    if isinstance(basis, Completion):
        # of the whole picture, which is known here: a decoder looks beyond the edge of what is kept
        return cover(dalle.decode(basis.given_N[None]), basis.keep_N, dalle.image_tokenizer.grid)[0], "given"
    return dalle.decode(basis.original_N[None])[0], "original"


def read_picture(path: Path, flag: str, size: int) -> Image.Image:
    """Any picture; says so where the model will see it scaled and cut."""
    try:
        image = decode_image(_read(path, flag))
    except BadImage as error:
        raise UserError(f"cannot read {flag} {path}: {error}") from None
    if shrink_exactly(image, size) is None:
        say(f"{path} has {image.width} x {image.height} pixels: scaled and cut to {size} x {size}, as in training")
    return image


def _open_mask(path: Path) -> Image.Image:
    """Upright; its transparency stays, which says what to draw anew."""
    try:
        with Image.open(io.BytesIO(_read(path, "--mask")), formats=FORMATS) as image:
            return ImageOps.exif_transpose(image)
    except UserError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise UserError(f"cannot read --mask {path}: {' '.join(str(error).split())}") from None


def _read(path: Path, flag: str) -> bytes:
    try:
        return reopen({"picture": str(path)}).read()
    except FileNotFoundError:
        raise UserError(f"cannot read {flag} {path}: no such file") from None
    except (OSError, BadImage) as error:
        raise UserError(f"cannot read {flag} {path}: {getattr(error, 'strerror', None) or error}") from None
