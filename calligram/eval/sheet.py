"""A contact sheet: many pictures as one, each with its caption below."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

PAPER, INK = "white", "#222222"
MARGIN = 8  # pixels between cells and around all
MAX_LINES = 3  # of a caption; the rest is left out
TITLE_WIDTH = 200  # pixels of a row's title on its left

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(
    images: Sequence[Image.Image],
    captions: Sequence[str] = (),
    columns: int = 4,
    scale: int = 2,
    title: str = "",
    font_size: int = 13,
) -> Image.Image:
    """Pictures in rows of ``columns``, each pixel enlarged ``scale`` times, with captions below and a title above.

    Without captions there are only pictures. ``font_size`` is in pixels.
    """
    if not images:
        raise ValueError("no pictures to put on a sheet: give at least one")
    if captions and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} pictures: give one each, or none")
    font = ImageFont.load_default(font_size)
    pictures = [enlarge(image.convert("RGB"), scale) for image in images]
    width = max(picture.width for picture in pictures)
    if captions:
        lines = [wrap(caption, font, width)[:MAX_LINES] for caption in captions]
        pictures = [_stack([p, _text(words, font, width)]) for p, words in zip(pictures, lines, strict=True)]
    rows = [_grid_row(pictures[start : start + columns], width) for start in range(0, len(pictures), columns)]
    if title:
        rows.insert(0, _text(wrap(title, font, rows[0].width), font, rows[0].width))
    return _framed(_stack(rows, gap=MARGIN))


@dataclass(frozen=True)
class SheetRow:
    """Pictures that belong together, with what they show."""

    title: str
    images: Sequence[Image.Image]
    captions: Sequence[str]


def row_sheet(rows: Sequence[SheetRow], scale: int = 2, font_size: int = 13) -> Image.Image:
    """A row of pictures for each title, which stands on its left, wrapped; captions below the pictures."""
    if not rows:
        raise ValueError("no rows to put on a sheet: give at least one")
    font = ImageFont.load_default(font_size)
    lines = []
    for row in rows:
        title = _text(wrap(row.title, font, TITLE_WIDTH), font, TITLE_WIDTH)
        cells = [_cell(image, caption, scale, font) for image, caption in zip(row.images, row.captions, strict=True)]
        lines.append(_beside(title, _grid_row(cells, max(cell.width for cell in cells))))
    return _framed(_stack(lines, gap=MARGIN))


def enlarge(image: Image.Image, scale: int) -> Image.Image:
    """Every pixel becomes a square of ``scale`` × ``scale``: nothing is smoothed that the model did not draw."""
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def wrap(text: str, font: Font, width: int) -> list[str]:
    """Lines of at most ``width`` pixels, broken between words; a longer word stands alone and is cut off."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _cell(image: Image.Image, caption: str, scale: int, font: Font) -> Image.Image:
    picture = enlarge(image.convert("RGB"), scale)
    return _stack([picture, _text(wrap(caption, font, picture.width)[:MAX_LINES], font, picture.width)])


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    whole = Image.new("RGB", (left.width + MARGIN + right.width, max(left.height, right.height)), PAPER)
    whole.paste(left, (0, 0))
    whole.paste(right, (left.width + MARGIN, 0))
    return whole


def _text(lines: list[str], font: Font, width: int) -> Image.Image:
    line_height = round(font.getbbox("Ag")[3]) + 3
    picture = Image.new("RGB", (width, line_height * len(lines)), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, text in enumerate(lines):
        draw.text((0, number * line_height + 2), text, fill=INK, font=font)
    return picture


def _stack(parts: list[Image.Image], gap: int = 0) -> Image.Image:
    """Pictures one below the other."""
    height = sum(part.height for part in parts) + gap * (len(parts) - 1)
    whole = Image.new("RGB", (max(part.width for part in parts), height), PAPER)
    y = 0
    for part in parts:
        whole.paste(part, (0, y))
        y += part.height + gap
    return whole


def _grid_row(cells: list[Image.Image], width: int) -> Image.Image:
    """Pictures side by side, each in a cell of the same width."""
    row = Image.new("RGB", (len(cells) * (width + MARGIN) - MARGIN, max(cell.height for cell in cells)), PAPER)
    for number, cell in enumerate(cells):
        row.paste(cell, (number * (width + MARGIN), 0))
    return row


def _framed(picture: Image.Image) -> Image.Image:
    frame = Image.new("RGB", (picture.width + 2 * MARGIN, picture.height + 2 * MARGIN), PAPER)
    frame.paste(picture, (MARGIN, MARGIN))
    return frame
