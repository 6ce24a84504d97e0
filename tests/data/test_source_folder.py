import importlib.util
import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from calligram.data.sources.folder import FolderSource
from calligram.errors import UserError

SKLEARN = importlib.util.find_spec("sklearn")  # found, not imported, which would take seconds
assert SKLEARN is not None and SKLEARN.origin is not None
PHOTOS = Path(SKLEARN.origin).parent / "datasets" / "images"  # china.jpg and flower.jpg, 640 × 427
ORIENTATION = 0x0112


def save(path: Path, size: tuple[int, int] = (20, 10), colour: object = "red", mode: str = "RGB", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)  # type: ignore[arg-type]  # a colour's type goes with its mode
    return path


def copy_photo(path: Path, name: str = "china.jpg") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((PHOTOS / name).read_bytes())
    return path


def samples_of(source: FolderSource) -> dict[str, object]:
    """Every sample, by its path."""
    found = [source.sample(split, i) for split, size in source.splits().items() for i in range(size)]
    assert len({sample.key for sample in found}) == len(found)
    return {sample.meta["path"]: sample for sample in found}


def only_sample(root: Path, **options):
    source = FolderSource(root=root, test_fraction=0, **options)
    assert source.splits() == {"train": 1}, source.skipped
    return source.sample("train", 0)


def image_of(sample) -> Image.Image:
    return sample.image if isinstance(sample.image, Image.Image) else Image.open(io.BytesIO(sample.image))


def reasons(source: FolderSource) -> dict[str, str]:
    return {path.name: reason for path, reason in source.skipped}


# --- where captions come from ---


def test_sub_folders_are_classes(tmp_path):
    for name in ("zebra", "golden_retriever", "blue-jay"):
        for number in range(3):
            save(tmp_path / name / f"{number}.png")
    save(tmp_path / ".hidden" / "0.png")
    save(tmp_path / "zebra" / ".hidden.png")
    (tmp_path / "empty").mkdir()
    source = FolderSource(root=tmp_path)
    samples = samples_of(source)
    assert source.class_names() == ["blue jay", "golden retriever", "zebra"]
    assert len(samples) == 9
    assert samples["golden_retriever/1.png"].captions[0] == "golden retriever"
    assert samples["golden_retriever/1.png"].meta["class"] == 1
    said = {template.format("zebra") for template in source.templates()}
    assert said == set(samples["zebra/0.png"].captions)
    assert source.skipped == []


def test_the_innermost_folder_is_the_class_and_a_picture_in_none_is_reported(tmp_path):
    save(tmp_path / "train" / "cat" / "1.png")
    save(tmp_path / "val" / "cat" / "1.png")
    save(tmp_path / "loose.png")
    source = FolderSource(root=tmp_path, test_fraction=0)
    assert source.class_names() == ["cat"]
    assert source.splits() == {"train": 2}
    assert "nothing says what it shows" in reasons(source)["loose.png"]


def test_text_files_beside_the_pictures(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("\ufeffa red  brick\n\n  un café rouge\na red brick\n", "utf-8")
    save(tmp_path / "deep" / "b.JPG", format="JPEG")
    (tmp_path / "deep" / "b.txt").write_text("b\r\n")
    save(tmp_path / "lonely.png")
    save(tmp_path / "silent.png")
    (tmp_path / "silent.txt").write_text("\n \n")
    save(tmp_path / "latin.png")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    source = FolderSource(root=tmp_path)
    samples = samples_of(source)
    assert samples["a.png"].captions == ("a red brick", "un café rouge")
    assert samples["deep/b.JPG"].captions == ("b",)
    assert set(reasons(source)) == {"lonely.png", "silent.png", "latin.png"}
    assert reasons(source)["lonely.png"] == "no lonely.txt beside it"
    assert source.class_names() == []
    assert source.templates() == ["{}"]


@pytest.mark.parametrize(("name", "mark"), [("captions.csv", ","), ("mine.tsv", "\t")])
def test_a_table_with_repeated_rows(tmp_path, name, mark):
    save(tmp_path / "pictures" / "a.png")
    save(tmp_path / "b, c.png")
    rows = [
        ["split", "File_Name", " Caption "],
        ["x", "pictures/a.png", '"red, ""bright"" brick"'],
        ["x", "./pictures/a.png", "a brick"],
        ["x", '"b, c.png"', "another"],
        ["x", "missing.png", "gone"],
        ["x", "b, c.png" if mark == "\t" else '"b, c.png"', "another"],
        ["x", "https://example.org/a.png", "far away"],
        ["x", "mute.png", ""],
        ["x", "", "of nothing"],
        ["x", "short.png"],
    ]
    (tmp_path / name).write_text("\n".join(mark.join(row) for row in rows), "utf-8")
    source = FolderSource(root=tmp_path / name)
    samples = samples_of(source)
    assert samples["pictures/a.png"].captions == ('red, "bright" brick', "a brick")
    assert samples["b, c.png"].captions == ("another",)
    found = {str(path.relative_to(tmp_path)): reason for path, reason in source.skipped}
    assert found["missing.png"] == "no such file"
    assert found["mute.png"] == found["short.png"] == "no caption in the table"
    assert any("address on the net" in reason for reason in found.values())
    assert any("without a path" in reason for reason in found.values())
    assert len(found) == 5


def test_json_lines_with_a_list_of_captions(tmp_path):
    for name in ("a", "b", "c"):
        save(tmp_path / f"{name}.png")
    rows = [
        {"image": "a.png", "text": ["one", "", "two", 3]},
        {"image": "b.png", "text": "three"},
        {"image": "c.png", "text": None},
        {"image": 5, "text": "four"},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    source = FolderSource(root=tmp_path / "t.jsonl")
    samples = samples_of(source)
    assert {path: sample.captions for path, sample in samples.items()} == {
        "a.png": ("one", "two"),
        "b.png": ("three",),
    }
    assert len(source.skipped) == 2


def test_a_table_in_the_folder_is_found_and_columns_may_be_named(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text("path,caption,Titel,Ort\nx.png,wrong,right,a.png\n")
    sample = only_sample(tmp_path, image_column="ort", caption_column="Titel")
    assert sample.captions == ("right",)
    (tmp_path / "captions.csv").write_text("path,caption\na.png,x\n")
    with pytest.raises(UserError, match=r"several tables, metadata.csv, captions.csv"):
        FolderSource(root=tmp_path).splits()


def test_a_picture_outside_the_tables_folder(tmp_path):
    picture = save(tmp_path / "pictures" / "a.png")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "t.csv").write_text(f"path,caption\n../pictures/a.png,one\n{picture},two\n")
    samples = samples_of(FolderSource(root=tmp_path / "tables" / "t.csv", test_fraction=0))
    assert {sample.captions for sample in samples.values()} == {("one",), ("two",)}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"foo,bar\n1,2\n", "no image column among 'foo', 'bar'.*--image-column"),
        ("t.csv", b"path;caption\na.png;x\n", "no image column among 'path;caption'"),
        ("t.csv", b"path,words\na.png,x\n", "no caption column.*--caption-column"),
        ("t.csv", b'path,caption\na.png,"x\nb.png,y\n', "t.csv, row from line 2.*quotation"),
        ("t.csv", b"path,caption\na.png,caf\xe9\n", "not UTF-8"),
        ("t.csv", b"path,caption\n", "no usable picture"),
        ("t.csv", b"", "no usable picture"),
        ("t.jsonl", b'{"path": "a.png", "caption": "x"}\n{"path": \n', "t.jsonl, line 2 is not JSON"),
        ("t.jsonl", b'["a.png", "x"]\n', "line 1 is not a JSON object"),
    ],
)
def test_an_unreadable_table_says_where(tmp_path, name, content, message):
    save(tmp_path / "a.png")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        FolderSource(root=tmp_path / name).splits()


# --- what does not work ---


def test_no_pictures_at_all(tmp_path):
    with pytest.raises(UserError, match=r"no usable picture in .*ending"):
        FolderSource(root=tmp_path).splits()
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(UserError, match="no usable picture"):
        FolderSource(root=tmp_path).splits()


def test_roots_that_are_no_folder_and_no_table(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        FolderSource(root=tmp_path / "nowhere").splits()
    with pytest.raises(UserError, match="neither a folder nor a table"):
        FolderSource(root=save(tmp_path / "a.png")).splits()
    with pytest.raises(UserError, match=r"no table.*leave out"):
        FolderSource(root=tmp_path, caption_column="title").splits()


def test_pictures_without_any_words(tmp_path):
    save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"1 left out, the first a.png .*nothing says"):
        FolderSource(root=tmp_path).splits()


def png_header_only(width: int, height: int) -> bytes:
    """A PNG that promises many pixels and has none."""
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_bad_pictures_are_left_out_and_reported(tmp_path):
    things = tmp_path / "things"
    copy_photo(things / "good.jpg")
    photo = (PHOTOS / "flower.jpg").read_bytes()
    (things / "text.jpg").write_text("not a picture")
    (things / "empty.png").write_bytes(b"")
    (things / "cut.jpg").write_bytes(photo[: len(photo) // 2])
    png = save(things / "cut.png", (50, 50)).read_bytes()
    (things / "cut.png").write_bytes(png[:-20])
    for name in ("cut.gif", "cut.tif", "cut.bmp"):
        cut = save(things / name, (50, 50)).read_bytes()
        (things / name).write_bytes(cut[: len(cut) * 3 // 4])
    webp = save(things / "cut.webp", (50, 50)).read_bytes()
    (things / "cut.webp").write_bytes(webp[: len(webp) // 2])
    (things / "large.png").write_bytes(png_header_only(12000, 9000))
    (things / "monstrous.png").write_bytes(png_header_only(60000, 60000))
    (things / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (things / "folder.jpg").mkdir()
    save(things / "depth.tiff", mode="F", colour=0.5)
    (things / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    source = FolderSource(root=tmp_path, test_fraction=0)
    assert source.splits() == {"train": 1}
    found = reasons(source)
    assert set(found) == {
        *(
            "text.jpg",
            "empty.png",
            "cut.jpg",
            "cut.png",
            "cut.webp",
            "cut.gif",
            "cut.tif",
            "cut.bmp",
            "large.png",
            "monstrous.png",
        ),
        *("phone.heic", "depth.tiff", "script.png"),
    }
    assert "12000 × 9000" in found["large.png"]
    assert "truncated" in found["cut.jpg"]
    assert "convert it" in found["phone.heic"]


def test_bytes_after_a_whole_jpeg_do_no_harm(tmp_path):
    path = copy_photo(tmp_path / "c" / "photo.jpg")
    path.write_bytes(path.read_bytes() + b"a camera's own notes" * 10)
    assert only_sample(tmp_path).extension == "jpg"


def test_a_picture_that_turns_bad_later_is_named(tmp_path):
    path = copy_photo(tmp_path / "c" / "photo.jpg")
    source = FolderSource(root=tmp_path, test_fraction=0)
    assert source.splits() == {"train": 1}
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"photo.jpg cannot be decoded \(.*truncated"):
        source.sample("train", 0)
    path.unlink()
    with pytest.raises(UserError, match=r"photo.jpg cannot be decoded \(no such file"):
        source.sample("train", 0)


# --- what becomes of a picture ---


# WebP has no grey
@pytest.mark.parametrize(
    ("extension", "mode"), [("jpg", "RGB"), ("jpg", "L"), ("png", "RGB"), ("png", "L"), ("webp", "RGB")]
)
def test_plain_pictures_stay_byte_for_byte(tmp_path, extension, mode):
    path = save(tmp_path / "c" / f"a.{extension}", mode=mode, colour=100 if mode == "L" else "red")
    sample = only_sample(tmp_path)
    assert sample.image == path.read_bytes()
    assert sample.extension == extension


def test_a_picture_of_just_the_size_stays_and_a_larger_one_shrinks(tmp_path):
    path = copy_photo(tmp_path / "c" / "china.jpg")
    assert only_sample(tmp_path, max_size=427).image == path.read_bytes()
    smaller = only_sample(tmp_path, max_size=100)
    assert smaller.extension == "jpg"
    assert image_of(smaller).size == (150, 100)
    expected = Image.open(path).resize((150, 100), Image.Resampling.LANCZOS)
    difference = np.asarray(image_of(smaller), float) - np.asarray(expected, float)
    # of 255: writing it as JPEG costs 3 and decoding at half size 2; skipped pixels would cost more than 10
    assert np.abs(difference).mean() < 6


def test_the_ending_is_what_the_file_is_not_what_it_is_called(tmp_path):
    save(tmp_path / "c" / "a.jpg", format="PNG")
    assert only_sample(tmp_path).extension == "png"


def quadrants(width: int = 40, height: int = 20) -> Image.Image:
    """Red, lime / blue, white: no two turns of it look alike."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("lime", (width // 2, 0, width, height // 2))
    image.paste("blue", (0, height // 2, width // 2, height))
    image.paste("white", (width // 2, height // 2, width, height))
    return image


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (1, None),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    ],
)
@pytest.mark.parametrize("max_size", [10, 512])
@pytest.mark.parametrize("extension", ["jpg", "png"])
def test_pictures_come_out_upright(tmp_path, orientation, undo, max_size, extension):
    """``undo`` turns the upright picture into what such a camera stores."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = quadrants() if undo is None else quadrants().transpose(undo)
    (tmp_path / "c").mkdir()
    stored.save(tmp_path / "c" / f"a.{extension}", exif=exif, **({"quality": 95} if extension == "jpg" else {}))
    sample = only_sample(tmp_path, max_size=max_size)
    image = image_of(sample)
    assert image.getexif().get(ORIENTATION, 1) == 1
    assert sample.extension == extension
    assert image.size == ((20, 10) if max_size == 10 else (40, 20))
    corners = quadrants(*image.size)
    for x in (2, image.width - 3):
        for y in (2, image.height - 3):
            got, wanted = image.convert("RGB").getpixel((x, y)), corners.getpixel((x, y))
            assert np.abs(np.subtract(got, wanted)).max() < 60, (orientation, x, y)  # JPEG's colours bleed


@pytest.mark.parametrize(
    ("name", "mode", "colour", "expected"),
    [
        ("clear.png", "RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("half.png", "RGBA", (255, 0, 0, 128), (255, 127, 127)),
        ("half.webp", "RGBA", (0, 0, 255, 128), (127, 127, 255)),
        ("grey.png", "LA", (0, 0), (255, 255, 255)),
        ("deep.png", "I;16", 0x8000, (128, 128, 128)),
        ("bits.png", "1", 1, (255, 255, 255)),
        ("print.jpg", "CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("old.gif", "RGB", (0, 0, 255), (0, 0, 255)),
        ("old.bmp", "RGB", (0, 0, 255), (0, 0, 255)),
        ("scan.tif", "RGB", (0, 0, 255), (0, 0, 255)),
    ],
)
def test_other_kinds_become_rgb_on_white(tmp_path, name, mode, colour, expected):
    save(tmp_path / "c" / name, mode=mode, colour=colour, **({"lossless": True} if name.endswith("webp") else {}))
    sample = only_sample(tmp_path)
    assert sample.extension == ("jpg" if name.endswith("jpg") else "png")
    image = image_of(sample)
    assert image.mode == "RGB"
    assert np.abs(np.subtract(image.getpixel((5, 5)), expected)).max() <= 2


def test_a_transparent_palette_colour_is_white(tmp_path):
    path = tmp_path / "c" / "a.png"
    path.parent.mkdir()
    image = Image.new("P", (20, 20), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(path, transparency=0)
    assert image_of(only_sample(tmp_path)).getpixel((5, 5)) == (255, 255, 255)


def test_a_jpeg_with_a_second_picture_behind_it_stays(tmp_path):
    path = tmp_path / "c" / "a.jpg"
    path.parent.mkdir()
    quadrants().save(path, "MPO", save_all=True, append_images=[quadrants()])
    assert only_sample(tmp_path).image == path.read_bytes()
    assert only_sample(tmp_path, max_size=10).extension == "jpg"


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_of_an_animation_the_first_picture_counts(tmp_path, extension):
    path = tmp_path / "c" / f"a.{extension}"
    path.parent.mkdir()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    sample = only_sample(tmp_path)
    assert isinstance(sample.image, Image.Image)
    assert np.abs(np.subtract(sample.image.getpixel((5, 5)), (255, 0, 0))).max() <= 3


# --- splits ---


def many(folder: Path, count: int) -> Path:
    for number in range(count):
        save(folder / f"class{number % 4}" / f"{number}.png", (8, 8))
    return folder


def test_the_split_follows_the_paths_and_stays_as_pictures_come(tmp_path):
    before = FolderSource(root=many(tmp_path, 200), test_fraction=0.2)
    tests = {before.sample("test", i).meta["path"] for i in range(before.splits()["test"])}
    assert 20 <= len(tests) <= 60
    after = FolderSource(root=many(tmp_path, 300), test_fraction=0.2)
    assert sum(after.splits().values()) == 300
    still = {after.sample("test", i).meta["path"] for i in range(after.splits()["test"])}
    assert tests <= still
    more = FolderSource(root=tmp_path, test_fraction=0.4)
    assert still <= {more.sample("test", i).meta["path"] for i in range(more.splits()["test"])}


def test_classes_are_mixed_and_a_pickled_source_gives_the_same(tmp_path):
    source = FolderSource(root=many(tmp_path, 40), test_fraction=0)
    source.splits()
    again = pickle.loads(pickle.dumps(source))  # noqa: S301  what a process pool does
    fresh = FolderSource(root=tmp_path, test_fraction=0)
    order = [source.sample("train", i) for i in range(40)]
    assert [again.sample("train", i) for i in range(40)] == order
    assert [fresh.sample("train", i) for i in range(40)] == order
    assert len({sample.meta["class"] for sample in order[:10]}) > 1


def test_a_fraction_of_zero_leaves_only_train_and_all_in_test_is_refused(tmp_path):
    many(tmp_path, 5)
    assert FolderSource(root=tmp_path, test_fraction=0).splits() == {"train": 5}
    with pytest.raises(UserError, match="--test-fraction 0"):
        FolderSource(root=tmp_path, test_fraction=0.9999).splits()


@pytest.mark.parametrize("options", [{"test_fraction": 1}, {"test_fraction": -0.1}, {"max_size": 0}, {"colour": 1}])
def test_settings_out_of_range_are_refused(tmp_path, options):
    with pytest.raises(ValidationError):
        FolderSource(root=tmp_path, **options)


def test_there_is_no_sample_outside_the_splits(tmp_path):
    source = FolderSource(root=many(tmp_path, 3), test_fraction=0)
    for split, index in [("train", 3), ("train", -1), ("test", 0)]:
        with pytest.raises(UserError, match="no s"):
            source.sample(split, index)


def test_odd_file_names_give_plain_keys(tmp_path):
    for name in ("été à la mer.v2.png", "猫.png", "a.b.png", "a-b.png", "x" * 120 + ".png"):
        save(tmp_path / "c" / name)
    for sample in samples_of(FolderSource(root=tmp_path)).values():
        assert all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in sample.key)
        assert len(sample.key) < 60
