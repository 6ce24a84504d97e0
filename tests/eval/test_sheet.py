"""The contact sheet shows every picture whole, where it belongs."""

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageFont

from calligram.eval.sheet import MARGIN, MAX_LINES, TITLE_WIDTH, SheetRow, contact_sheet, enlarge, row_sheet, wrap

COLOURS = ["red", "lime", "blue", "black", "yellow"]


def squares(number: int, size: int = 8) -> list[Image.Image]:
    return [Image.new("RGB", (size, size), COLOURS[i % 5]) for i in range(number)]


def test_pictures_stand_in_rows():
    sheet = contact_sheet(squares(5), columns=3, scale=2)
    cell = 16 + MARGIN
    assert sheet.size == (MARGIN + 3 * cell, MARGIN + 2 * cell)
    for number, colour in enumerate(COLOURS):
        corner = (MARGIN + number % 3 * cell, MARGIN + number // 3 * cell)
        expected = Image.new("RGB", (16, 16), colour)
        assert list(sheet.crop((*corner, corner[0] + 16, corner[1] + 16)).getdata()) == list(expected.getdata())
    assert sheet.getpixel((sheet.width - MARGIN - 1, sheet.height - MARGIN - 1)) == (255, 255, 255)


def test_pixels_are_not_smoothed():
    picture = Image.fromarray(np.arange(27, dtype=np.uint8).reshape(3, 3, 3))
    assert (np.asarray(enlarge(picture, 4))[::4, ::4] == np.asarray(picture)).all()


def test_captions_and_a_title_take_room_of_their_own():
    plain = contact_sheet(squares(2), columns=2, scale=8)
    captioned = contact_sheet(squares(2), ["0.31", "a longer caption"], columns=2, scale=8)
    titled = contact_sheet(squares(2), columns=2, scale=8, title="a red circle")
    assert captioned.width == titled.width == plain.width
    assert captioned.height > plain.height
    assert titled.height > plain.height
    assert captioned.getpixel((MARGIN, MARGIN)) == (255, 0, 0)
    below = captioned.crop((0, MARGIN + 64, captioned.width, captioned.height))
    assert below.convert("L").getextrema()[0] < 128  # ink
    assert titled.crop((0, MARGIN, titled.width, MARGIN + 12)).convert("L").getextrema()[0] < 128


def test_a_long_caption_is_wrapped_and_cut():
    many = "word " * 50
    lines = contact_sheet(squares(1), [many], scale=8).height
    assert lines == contact_sheet(squares(1), ["word " * 12], scale=8).height
    font = ImageFont.load_default(13)
    wrapped = wrap(many, font, 64)
    assert len(wrapped) > MAX_LINES
    assert all(font.getlength(line) <= 64 for line in wrapped)
    assert " ".join(wrapped).split() == many.split()


def test_wrap_leaves_a_word_whole():
    assert wrap("a extraordinarily b", ImageFont.load_default(13), 20) == ["a", "extraordinarily", "b"]
    assert wrap("", ImageFont.load_default(13), 20) == []


@pytest.mark.parametrize(
    ("images", "captions", "message"),
    [([], [], "no pictures"), (squares(2), ["one"], "1 captions for 2 pictures")],
)
def test_what_does_not_fit_is_refused(images, captions, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(images, captions)


def test_a_row_for_each_title():
    rows = [SheetRow("a red circle", squares(3), ["0.1", "0.2", "0.3"]), SheetRow("two", squares(1), [""])]
    sheet = row_sheet(rows, scale=8)
    assert sheet.width == MARGIN + TITLE_WIDTH + 3 * (64 + MARGIN) + MARGIN
    left = MARGIN + TITLE_WIDTH + MARGIN
    for number, colour in enumerate(COLOURS[:3]):
        corner = (left + number * (64 + MARGIN), MARGIN)
        assert sheet.crop((*corner, corner[0] + 64, corner[1] + 64)).getcolors() == [
            (4096, tuple(ImageColor.getrgb(colour)))
        ]
    title = sheet.crop((MARGIN, MARGIN, MARGIN + TITLE_WIDTH, MARGIN + 20))
    assert title.convert("L").getextrema()[0] < 128  # ink


def test_a_long_title_is_shown_to_its_end():
    short = row_sheet([SheetRow("a ring", squares(1), [""])], scale=8)
    long = row_sheet([SheetRow("word " * 60, squares(1), [""])], scale=8)
    assert long.height > 2 * short.height and long.width == short.width


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        row_sheet([])
