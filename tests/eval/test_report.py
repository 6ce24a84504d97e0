"""The report is one file that needs nothing else, says what it was given and no more, and replaces the old at once."""

import base64
import io
import json
import math
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from calligram.errors import UserError
from calligram.eval import report
from calligram.eval.plots import curve_svg
from calligram.eval.report import write_report
from calligram.eval.report_parts import (
    Curve,
    Curves,
    Fact,
    Gallery,
    Picture,
    Pictures,
    Section,
    Table,
    curves_of_run,
)
from tests.eval.pages import Page

RED = Image.new("RGB", (64, 64), (200, 30, 40))
HOSTILE = "<script>alert('x')</script> & \"$5$\""


def page(*sections: Section, facts=(), title="Report", intro="All of it.", footer=None) -> Page:
    return Page(report.render(title, intro, facts, sections, footer or {}))


def decoded(data_uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data_uri.partition(",")[2])))


def full_page(text: str = "words") -> Page:
    """A page with one of everything, and ``text`` wherever text can stand."""
    picture = Picture(RED, text, text, True)
    curves = [Curve(text, [1, 2, 3], [3.0, math.nan, 1.0], text, text) for _ in range(2)]
    blocks = [
        Pictures(text, [picture, Picture(RED)], text),
        Gallery(text, picture, [Picture(RED, "0.31", good=False)], text),
        Table(text, [text, "top-1"], [[text, 0.5], ["", None]], text),
        Curves(text, curves, text),
    ]
    sections = [Section(text, text, blocks), Section(text, text, [Curves(text, curves)])]
    return page(*sections, facts=[Fact(text, text, text, False)], title=text, intro=text, footer={text: text})


@pytest.fixture(scope="module")
def whole() -> Page:
    return full_page()


def test_nothing_outside_the_file_is_needed(whole):
    assert all(src.startswith("data:image/png;base64,") for src in whole.values("src"))
    assert all(re.match(r"#.|data:,$", href) for href in whole.values("href"))
    assert {tag for tag, _ in whole.elements}.isdisjoint({"script", "iframe", "object", "base", "form"})
    assert any(content.startswith("default-src 'none';") for content in whole.values("content"))


def test_the_style_sheet_loads_nothing():
    html = report.render("Report", "", [], [], {})
    style = html[html.index("<style>") : html.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style


def test_ids_are_unique_and_every_link_within_the_page_arrives(whole):
    ids = whole.values("id")
    targets = [href[1:] for href in whole.values("href") if href.startswith("#")]
    targets += [re.sub(r"url\(#(.*)\)", r"\1", value) for value in whole.values("clip-path")]
    assert len(ids) == len(set(ids))
    assert len(targets) > 8
    assert set(targets) <= set(ids)


def test_every_picture_has_words_for_those_who_cannot_see_it(whole):
    assert len(whole.all("img")) == 4
    assert all(attributes["alt"] for attributes in whole.all("img"))
    drawings = [attributes for attributes in whole.all("svg") if attributes.get("aria-hidden") != "true"]
    assert drawings
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawings)


def test_headings_go_down_one_level_at_a_time(whole):
    levels = [int(tag[1]) for tag, _ in whole.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_text_stays_text(whole):
    hostile = full_page(HOSTILE)
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in whole.elements]
    assert hostile.text.count(HOSTILE) == whole.text.count("words")
    assert HOSTILE in hostile.values("alt")


def test_a_picture_comes_through_pixel_by_pixel():
    drawn = Image.effect_noise((64, 48), 80).convert("RGB")
    (attributes,) = page(Section("s", "", [Pictures("", [Picture(drawn)])])).all("img")
    assert decoded(attributes["src"] or "").tobytes() == drawn.tobytes()
    assert attributes["class"] == "pixels"
    assert (attributes["width"], attributes["height"]) == ("64", "48")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "F", "I"])
def test_a_picture_of_any_mode_can_be_shown(mode):
    large = Image.new(mode, (1600, 800))
    for image in (large, large.resize((8, 8))):
        assert decoded(report.data_uri(image)).size == (image.size if image.width == 8 else (640, 320))


def test_a_large_photograph_is_not_shown_with_hard_edges():
    (attributes,) = page(Section("s", "", [Pictures("", [Picture(Image.new("RGB", (300, 200)))])])).all("img")
    assert "class" not in attributes


@pytest.mark.parametrize(("good", "mark", "words"), [(True, "#mark-good", "good"), (False, "#mark-poor", "poor")])
def test_good_and_poor_differ_in_form_and_words(good, mark, words):
    shown = page(Section("s", "", [Pictures("", [Picture(RED, good=good)])]), facts=[Fact("a", "1", good=good)])
    assert [attributes["href"] for attributes in shown.all("use")] == [mark, mark]
    assert [label for label in shown.values("aria-label") if label in ("good", "poor")] == [words, words]


def test_no_mark_where_nothing_is_judged():
    assert page(Section("s", "", [Pictures("", [Picture(RED)])]), facts=[Fact("a", "1")]).all("use") == []


def test_a_report_of_nothing():
    shown = page(title="Bare", intro="")
    assert [shown.all(tag) for tag in ("nav", "section", "dl", "footer", "img")] == [[]] * 5
    assert "Bare" in shown.text


def test_empty_sections_and_blocks_say_that_they_are_empty():
    empty = [Pictures("Drawn", []), Table("Numbers", ["a"], []), Curves("Lines", []), Gallery("a cat", Picture(RED))]
    shown = page(Section("Nothing"), Section("Hollow", "", empty))
    assert shown.values("id")[-2:] == ["nothing", "hollow"]
    assert all(words in shown.text for words in ("No pictures.", "No rows.", "No curves."))
    assert "others" not in shown.values("class")


def test_sections_of_one_title_have_anchors_of_their_own():
    assert list(report.unique_anchors(["Was nun?", "was NUN", "…", "", "Größe"])) == [
        "was-nun",
        "was-nun-2",
        "section",
        "section-2",
        "größe",
    ]


def test_an_empty_line_starts_a_paragraph():
    shown = page(Section("s", "one\nstill one\n\n \n two "))
    assert len(shown.all("p")) == 1 + 2  # the first is the intro


@pytest.mark.parametrize(("count", "width"), [(1, 3), (2, 3), (3, 3), (4, 4), (5, 5), (6, 3), (7, 4), (8, 4), (10, 5)])
def test_tiles_leave_few_places_empty(count, width):
    empty = {candidate: -count % candidate for candidate in (3, 4, 5)}
    assert report.tiles_in_a_row(count) == width
    assert empty[width] == min(empty.values())


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        ([0.97, 0.9653, 1.0], ["0.970", "0.965", "1.000"]),
        ([0.5, 0.25], ["0.50", "0.25"]),
        ([28.41, 9.126], ["28.41", "9.13"]),
        ([812.46, 12345.6], ["812", "12,346"]),
        ([0.0031, 0.0002], ["0.0031", "0.0002"]),
        ([0.5, 0.00001, 0.0], ["0.5", "1.0e-05", "0.0"]),
        ([-0.25, math.nan, None, math.inf], ["-0.25", "–", "–", "–"]),
        ([20000, 7], ["20,000", "7"]),
        ([0.0], ["0"]),
        (["as 1.50 is", True, 2.5], ["as 1.50 is", True, "2.5"]),
    ],
)
def test_numbers_of_a_column_have_their_points_in_line(column, texts):
    assert list(report.column_texts(column)) == texts


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([1, 2.5, None, math.nan], True),
        (["0.97", "97 %", "–", "1,200", "−3", "28.4 dB", "1.5e-3", "0.97 ± 0.01", "2.1×"], True),
        ([1, "a cat"], False),
        ([True, False], False),
        (["a 1"], False),
        ([None, ""], False),
        ([], False),
    ],
)
def test_columns_of_numbers_are_told_from_others(column, expected):
    assert report.holds_numbers(column) is expected


def test_numbers_stand_right_and_words_left():
    shown = page(Section("s", "", [Table("t", ["task", "top-1", "passed"], [["zero-shot", 0.97, True]])]))
    cells = [(tag, attributes.get("class")) for tag, attributes in shown.elements if tag in ("th", "td")]
    assert cells == [("th", None), ("th", "number"), ("th", None), ("th", None), ("td", "number"), ("td", None)]
    assert {"scroll", "#mark-good"} <= {*shown.values("class"), *shown.values("href")}


def test_a_row_that_does_not_fit_its_table_is_named():
    with pytest.raises(ValueError, match=r"'zero-shot' has 2 headers, but the row \['a'\]"):
        Table("zero-shot", ["name", "top-1"], [["a"]])


def line_of(svg: str) -> str:
    """The path of the curve itself: the one that is drawn in the line's colour and not filled."""
    (path,) = re.findall(r'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--accent\)', svg)
    return path


def test_not_a_number_leaves_a_gap():
    whole = curve_svg(Curve("loss", range(6), [6, 5, 4, 3, 2, 1]), "plot")
    broken = curve_svg(Curve("loss", range(6), [6, 5, math.nan, math.inf, 2, 1]), "plot")
    assert line_of(whole).count("M") == 1
    assert line_of(broken).count("M") == 2
    assert "nan" not in broken


def test_a_log_axis_leaves_out_what_has_no_logarithm():
    svg = curve_svg(Curve("loss", range(6), [1000, 100, 0, -5, 10, 1], log_y=True), "plot")
    assert line_of(svg).count("M") == 2
    assert {">1<", ">1000<"} <= set(re.findall(r">[\d.]+<", svg))


def test_points_without_neighbours_are_dots():
    svg = curve_svg(Curve("loss", range(5), [1, math.nan, 2, math.nan, 3]), "plot")
    assert svg.count("<use ") == 3


@pytest.mark.parametrize(
    "curve",
    [
        Curve("a", [], []),
        Curve("a", [1, 2], [math.nan, -math.inf]),
        Curve("a", [1], [0.0], log_y=True),
        Curve("a", [math.nan], [1.0]),
    ],
)
def test_a_curve_without_points_says_so(curve):
    shown = page(Section("s", "", [Curves("t", [curve])]))
    assert "No values to draw." in shown.text
    assert "plot" not in shown.values("class")


def test_a_plot_takes_the_colours_and_the_font_of_the_page():
    svg = curve_svg(Curve("loss", [1, 2], [1, 2]), "plot")
    assert all(variable in svg for variable in ("var(--accent)", "var(--muted)", "var(--line)"))
    assert "#00000" not in svg
    assert "font-family" not in svg
    assert "<style" not in svg  # it would reach beyond the drawing


def test_a_plot_changes_no_setting_and_is_the_same_each_time():
    import matplotlib

    def settings() -> dict[str, object]:
        return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name.startswith(("svg.", "font."))}

    before = settings()
    curve = Curve("loss", [1, 2], [1, 2])
    assert curve_svg(curve, "plot") == curve_svg(curve, "plot")
    assert settings() == before


def test_a_long_run_gives_a_small_plot():
    steps = range(50_000)
    svg = curve_svg(Curve("loss", steps, [math.sin(step * 1.7) + step / 1e5 for step in steps]), "plot")
    assert len(svg) < 300_000


def test_a_curve_has_a_y_for_every_x():
    with pytest.raises(ValueError, match="'loss' has 2 xs, but 1 ys"):
        Curve("loss", [1, 2], [1.0])


def test_where_a_curve_ended_is_told_also_if_that_was_nowhere():
    ends = [report.last_value(Curve("a", range(len(ys)), ys)) for ys in ([3, 0.41234], [1, math.nan], [])]
    assert ends == ["0.4123", "nan", "–"]


def test_curves_of_a_run(tmp_path):
    rows = [
        {"step": 20, "loss": 4.0, "psnr_db": 12.0},
        {"step": 40, "loss": 3.0},
        {"step": 20, "loss": 3.5, "psnr_db": 13.0},  # written again by a run that went on from step 0
        {"step": 60, "loss": None},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert curves_of_run(tmp_path, ["loss", "psnr_db", "grad_norm"], log_y=["loss"]) == [
        Curve("loss", [20, 40], [3.5, 3.0], log_y=True),
        Curve("PSNR (dB)", [20], [13.0]),
        Curve("gradient norm", [], []),
    ]


def test_a_run_without_metrics_gives_curves_without_points(tmp_path):
    assert curves_of_run(tmp_path, ["image_loss"]) == [Curve("image loss", [], [])]


def write(path: Path, title: str = "Report", sections=()) -> None:
    write_report(path, title, "All of it.", [], sections, {"command": "calligram demo"})


def test_a_report_is_one_file(tmp_path):
    path = tmp_path / "new" / "folder" / "report.html"
    write(path, "Größe")
    assert "calligram demo" in Page(path.read_text(encoding="utf-8")).text
    assert list(path.parent.iterdir()) == [path]


def test_the_old_report_stands_until_the_new_one_is_complete(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write(path, "old")

    def fail(*_):
        assert "<title>old" in path.read_text()
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, "new")
    assert "<title>old" in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_drawn_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    write(path, "old")
    with pytest.raises(AttributeError):
        write(path, "new", [Section("s", "", [Pictures("t", [Picture(None)])])])  # pyright: ignore[reportArgumentType]
    assert "<title>old" in path.read_text()


def test_a_folder_is_no_place_for_a_report(tmp_path):
    with pytest.raises(UserError, match=r"is a folder: name a file for the report, such as .*report\.html"):
        write(tmp_path)


def test_matplotlib_waits_for_the_first_curve():
    code = "import sys, calligram.eval.report; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(report.__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
