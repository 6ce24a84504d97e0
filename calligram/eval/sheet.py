"""A contact sheet: many pictures as one, each with its caption below."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

PAPER, INK = "white", "#222222"
MARGIN = 8  # pixels between cells and around all
MAX_LINES = 3  # of a caption; the rest is left out

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
