"""The size of a JPEG by its header, in a tenth of the time that Pillow takes to open it.

Only for the plain case: whatever needs a second look (EXIF, CMYK, 12 bits, damage) is Pillow's.
"""

START = b"\xff\xd8\xff"
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: those that turbo decodes
_OTHER_FRAMES = {0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
_APP1, _START_OF_SCAN = 0xE1, 0xDA
_PLAIN = range(0xC0, 0xFF)  # markers that a length follows …
_BARE = range(0xD0, 0xDA)  # … but for these: restarts, the start and the end of a picture


def read_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) as stored, of a JPEG of 8 bits in grey or colour that has no EXIF or XMP data."""
    size, at = None, 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _START_OF_SCAN:
            return size
        if marker == _APP1 or marker in _OTHER_FRAMES or marker not in _PLAIN or marker in _BARE:
            return None
        if marker in _FRAMES:
            bits, height, width, colours = data[at + 4], _two(data, at + 5), _two(data, at + 7), data[at + 9]
            if bits != 8 or not height or not width or colours not in (1, 3) or size:
                return None
            size = width, height
        at += 2 + _two(data, at + 2)
    return None


def _two(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]
