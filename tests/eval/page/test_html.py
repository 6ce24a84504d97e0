"""The page has every figure, picture and gap, needs no network, and takes no name for markup."""

import math
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from calligram.eval.estimate import LEVEL
from calligram.eval.page import words, write_page
from tests.eval.page.example import cell, many, one, results, row
from tests.eval.pages import Page

HOSTILE = "<script>alert('x')</script> & \"$5$\""


def written(found: dict, folder: Path) -> Page:
    path = write_page(found, folder)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def picture(folder: Path, path: str, side: int = 300) -> str:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (200, 30, 40)).save(folder / path)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Page:
    return written(many(), tmp_path_factory.mktemp("whole"))


def test_one_figure(tmp_path):
    page = written(one(), tmp_path)
    assert "0.970 0.958–0.981" in page.text
    assert all(words in page.text for words in ("calligram 0.1.0", "23 November 2026", "13 min 32 s", "CC0-1.0"))
    assert "Not measured" not in page.text
    assert not page.all("strong")
    assert page.values("class").count("plot") == 1


def test_ids_are_unique_and_every_link_arrives(whole):
    ids = whole.values("id")
    targets = [href[1:] for href in whole.values("href") if href.startswith("#")]
    assert len(ids) == len(set(ids))
    assert set(targets) <= set(ids)
    assert {"overview", "set-0", "set-1-retrieval-5", "not-measured", "provenance"} <= set(ids) & set(targets)


def test_nothing_outside_the_file_is_needed(whole):
    assert all(re.match(r"#.|data:,$", href) for href in whole.values("href"))
    assert {tag for tag, _ in whole.elements}.isdisjoint({"script", "iframe", "object", "base", "form"})
    assert not any(
        "http" in (value or "") for _, given in whole.elements for name, value in given.items() if name != "http-equiv"
    )


def test_every_task_has_its_section_and_the_best_is_bold(whole):
    parts = [given for given in whole.all("section") if given.get("class") == "part"]
    assert len(parts) == 3 * 15
    assert whole.all("strong")
    assert len([given for given in whole.all("svg") if given.get("class") == "plot"]) > 45


def test_values_that_are_none_are_dashes(whole):
    assert "–" in whole.text
    assert not re.search(r"\b(nan|None|inf)\b", whole.text)


def test_gaps_are_told_with_their_reasons(whole):
    failed = [each for each in many()["cells"] if each["status"] == "failed"]
    assert failed
    for each in failed:
        assert f"{each['model']} failed: {each['reason']}" in whole.text
    assert f"{len(failed)} cells failed." in whole.text
    assert "it needs a DALL-E" in whole.text


def test_headings_go_down_one_level_at_a_time(whole):
    levels = [int(tag[1]) for tag, _ in whole.elements if re.fullmatch(r"h\d", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_hostile_name_is_text_everywhere(tmp_path):
    def with_name(name: str, folder: Path) -> Page:
        pictures = {f"clip.x.{name}": picture(folder, "a.png"), "clip.x.gone": name}
        rows = [row(name, name, name, f"clip.x.{name}", 0.5, low=0.4, high=0.6, count=9), row("b", name, name)]
        cells = [cell(name, name, name, pictures=pictures), cell("b", name, name, "failed", name)]
        found = results(
            rows, cells, config={name: name}, versions={name: name}, machine=name, started=name, command=name
        )
        found["data"][0] |= {"place": name, "licence": name, "splits": {name: 3}}
        found["models"][0]["parts"] = {name: {"place": name, "digest": name, "parameters": None}}
        return written(found, folder)

    hostile, harmless = with_name(HOSTILE, tmp_path / "a"), with_name("words", tmp_path / "b")
    assert [tag for tag, _ in hostile.elements if tag != "wbr"] == [tag for tag, _ in harmless.elements if tag != "wbr"]
    assert hostile.text.count("alert('x')") >= harmless.text.count("words") - 2
    assert hostile.all("script") == []


def test_pictures_stand_side_by_side_by_model(tmp_path):
    pictures = [{"clip.zero_shot.confusion": picture(tmp_path, f"cells/{name}/c.png")} for name in "ab"]
    found = results([row("a"), row("b")], [cell("a", pictures=pictures[0]), cell("b", pictures=pictures[1])])
    page = written(found, tmp_path)
    assert [given["alt"] for given in page.all("img")] == ["a", "b"]
    assert all(given["src"].startswith("data:image/png;base64,") for given in page.all("img"))
    assert page.values("class").count("pictures wide") == 1
    assert "Confusion matrix" in page.text


def test_a_picture_that_cannot_be_shown_is_told(tmp_path):
    folder = tmp_path / "out"
    picture(tmp_path, "outside.png")
    (folder / "cells").mkdir(parents=True)
    (folder / "cells" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    paths = {"a": "cells/none.png", "b": "cells/torn.png", "c": "../outside.png"}
    cells = [cell(model, pictures={"clip.x.confusion": path}) for model, path in paths.items()]
    page = written(results([], cells), folder)
    assert page.all("img") == []
    assert "The picture of a, b, c is missing or damaged." in page.text


def test_data_and_tasks_of_like_names_keep_their_own_anchors(tmp_path):
    rows = [row(data="overview", task="a b"), row(data="Overview a", task="b"), row(data="mark", task="good")]
    ids = written(results(rows, []), tmp_path).values("id")
    assert len(ids) == len(set(ids))


def test_a_task_without_any_number_has_no_chart(tmp_path):
    page = written(results([row(value=math.nan), row("b", value=None)], [cell(), cell("b")]), tmp_path)
    assert "plot" not in page.values("class")


def test_an_empty_evaluation_is_a_page(tmp_path):
    assert "0 models on 0 data sets" in written(results([], []), tmp_path).text


def test_the_words_name_the_level_of_the_intervals():
    assert words.LEVEL == LEVEL


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.14, "3.1 s"), (59.7, "1 min"), (812.4, "13 min 32 s"), (7261, "2 h 1 min"), (0, "0.0 s")],
)
def test_durations(seconds, text):
    assert words.duration(seconds).replace("\xa0", " ") == text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [375, 1280])
def test_chromium_shows_it_without_complaint_and_nothing_sticks_out(tmp_path, width):
    path = write_page(many(3, 4, 2), tmp_path)
    probe = "<script>document.title = `${document.documentElement.scrollWidth} of ${innerWidth}`</script></body>"
    html = path.read_text(encoding="utf-8")
    # the page's own policy forbids scripts, so the copy that measures itself goes without it
    copy = re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", probe)
    (tmp_path / "probe.html").write_text(copy, encoding="utf-8")
    assert "CONSOLE" not in _chromium(path, tmp_path, width).stderr
    shown = re.search(r"<title>(\d+) of (\d+)</title>", _chromium(tmp_path / "probe.html", tmp_path, width).stdout)
    assert shown is not None
    assert int(shown[1]) <= int(shown[2])


def _chromium(path: Path, folder: Path, width: int) -> subprocess.CompletedProcess[str]:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--window-size={width},900"]
    command = ["chromium", *flags, f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
