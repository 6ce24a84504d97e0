from pathlib import Path

import pytest
from PIL import Image, ImageDraw


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    """The current folder: two drawings, a text that is named as a picture, and a broken one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("CALLIGRAM_CACHE", str(tmp_path / ".cache"))
    for name, colour in (("red", "red"), ("blue", "blue")):
        image = Image.new("RGB", (48, 32), "white")
        ImageDraw.Draw(image).ellipse((12, 4, 36, 28), fill=colour)
        image.save(tmp_path / f"{name}.png")
    (tmp_path / "text.png").write_text("hello\n")
    (tmp_path / "broken.png").write_bytes((tmp_path / "red.png").read_bytes()[:90])
    return tmp_path
