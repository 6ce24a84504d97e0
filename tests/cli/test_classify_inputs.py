"""What `calligram classify` takes: lists, URLs, shards, tars; labels in files and trees; and the files it writes."""

import csv
import io
import json
import re
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations

import pytest
import torch
from PIL import Image

import calligram
from calligram.cli.main import main
from calligram.cli.pictures import find_items, find_pictures, reopen
from calligram.data.dataset import Shards
from calligram.errors import UserError

LABELS = ["--labels", "a red circle,a blue circle,two stars"]


@pytest.fixture
def model(tiny_runs) -> list[str]:
    return ["--model", str(tiny_runs.clip)]


@pytest.fixture
def server(pictures):
    """The current folder by http."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(pictures))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def rows(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def write_tar(path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def jpeg(colour: str, size=(64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def test_a_list_on_stdin_with_paths_and_urls(pictures, model, server, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"red.png\n\n{server}/blue.png\npipe:touch made\n{server}/gone.png\n"))
    assert main(["classify", "-", *LABELS, *model, "--json"]) == 1
    red, blue, command, gone = rows(capsys)
    assert [red["picture"], blue["picture"]] == ["red.png", f"{server}/blue.png"]
    assert len(red["labels"]) == len(blue["labels"]) == 3
    assert command["error"].startswith("commands are not run for pictures")
    assert not (pictures / "made").exists()
    assert "the server answers 404" in gone["error"]


def test_an_empty_list_is_one_line(pictures, model, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert main(["classify", "-", *LABELS, *model]) == 2
    assert capsys.readouterr().err.startswith("calligram: error: there are no pictures: give files")


def test_shards_with_the_labels_and_templates_of_their_manifest(pictures, model, tiny_runs, capsys):
    shards = Shards(tiny_runs.shards, "test")
    assert main(["classify", str(tiny_runs.shards), *model, "--json", "--top-k", "2"]) == 0
    found = rows(capsys)
    assert len(found) == len(shards) == 9
    clip = calligram.load_clip(tiny_runs.clip)
    names = shards.manifest.class_names
    expected = clip.classify([shards[i].image() for i in range(9)], names, shards.manifest.templates).topk(2)
    for row, values, indices in zip(found, expected.values, expected.indices, strict=True):
        assert [each["label"] for each in row["labels"]] == [names[i] for i in indices]
        assert [each["probability"] for each in row["labels"]] == pytest.approx(values.tolist(), abs=1e-5)
    assert main(["classify", str(tiny_runs.shards), *LABELS, *model, "--split", "gone"]) == 2
    assert "split 'gone' is not in this data set" in capsys.readouterr().err


def test_a_tar_without_words_and_what_is_wrong_with_tars(pictures, model, capsys):
    write_tar(pictures / "a.tar", {"1.jpg": jpeg("red"), "1.txt": b"x", "d/2.JPG": jpeg("blue"), "3.png": b"broken"})
    assert main(["classify", "a.tar", *LABELS, *model, "--json"]) == 1
    found = rows(capsys)
    assert [row["picture"] for row in found] == ["a.tar:1.jpg", "a.tar:d/2.JPG", "a.tar:3.png"]
    assert found[2]["error"] == "not an image in a known format"
    whole = (pictures / "a.tar").read_bytes()
    for name, data, line in (
        ("cut", whole[: 512 + 100], "is not a readable tar (unexpected end of data)"),
        ("headless", whole[: whole.index(b"1.txt")], "is cut off or damaged behind byte"),
        ("text", b"hello" * 300, "is not a readable tar"),
    ):
        (pictures / f"{name}.tar").write_bytes(data)
        assert main(["classify", f"{name}.tar", *LABELS, *model]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert f"{name}.tar {line}" in err


def test_items_know_their_number_and_can_be_opened_again(pictures, tiny_runs):
    write_tar(pictures / "a.tar", {"1.jpg": jpeg("red")})
    items = find_items(["red.png", str(tiny_runs.shards), "blue.png", "red.png"], "test")
    assert items.total == 12 == len(list(items))
    assert find_items(["a.tar"]).total is None
    for item in [*items, *find_items(["a.tar"])]:
        again = reopen(json.loads(json.dumps(item.facts)))
        assert (again.name, again.read()) == (item.name, item.read())
    assert find_pictures(["red.png", "blue.png", "red.png"]) == ["red.png", "blue.png"]


def test_a_tree_of_labels(pictures, model, tiny_runs, capsys):
    tree = {"circle": ["a red circle", "a blue circle"], "more": ["two stars", {"ring": ["a red ring"]}]}
    (pictures / "tree.json").write_text(json.dumps(tree))
    words = ["classify", "red.png", "--labels-file", "tree.json", *model]
    assert main([*words, "--json"]) == 0
    (row,) = rows(capsys)
    leaves = {each["label"]: each["probability"] for each in row["labels"]}
    groups = {each["label"]: each["probability"] for each in row["groups"]}
    assert set(groups) == {"circle", "more", "ring"}
    assert groups["circle"] == pytest.approx(leaves["a red circle"] + leaves["a blue circle"], abs=1e-5)
    assert groups["more"] == pytest.approx(leaves["two stars"] + leaves["a red ring"], abs=1e-5)
    assert list(groups.values()) == sorted(groups.values(), reverse=True)
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "circle/" in out and "ring/" in out


def test_none_of_these(pictures, model, capsys):
    (pictures / "words.txt").write_text("a blue ring\na red circle\n")
    words = ["classify", "red.png", "--background", "words.txt", *model]
    assert main([*words, "--labels", "a red circle", "--json"]) == 0
    (row,) = rows(capsys)
    assert row["background"]["label"] == "a blue ring", "what is a label is no background"
    # which of the two is nearer is the model's to say; the other way round it must say the opposite
    assert main([*words[:3], "other.txt", *model, "--labels", "a blue ring", "--json"]) == 2
    capsys.readouterr()
    (pictures / "other.txt").write_text("a red circle")
    assert main([*words[:3], "other.txt", *model, "--labels", "a blue ring", "--json"]) == 0
    (turned,) = rows(capsys)
    assert turned["none_of_these"] is not row["none_of_these"]
    assert turned["similarity"] == pytest.approx(row["background"]["similarity"], abs=1e-5)
    rejected = words if row["none_of_these"] else [*words[:3], "other.txt", *model]
    label = "a red circle" if row["none_of_these"] else "a blue ring"
    assert main([*rejected, "--labels", label]) == 0
    assert "none of these, rather: a" in capsys.readouterr().out


def test_the_names_of_imagenet_are_labels_or_background(pictures, model, tiny_runs, capsys):
    """The tiny model reads 32 tokens of a vocabulary that knows no animals: names too long for it are left out."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    clip = calligram.load_clip(tiny_runs.clip)
    fitting = {name for name in IMAGENET_CLASSNAMES if len(clip.tokenizer.encode(name)) <= 30}
    names = ["tench", "goldfish"]
    assert main(["classify", "red.png", "--labels", ",".join(names), "--background", "imagenet", *model, "--json"]) == 0
    (row,) = rows(capsys)
    others = sorted(fitting - set(names))
    cosines = clip.embed_images([Image.open("red.png")]) @ clip.embed_labels(others).T
    assert row["background"]["similarity"] == pytest.approx(float(cosines.max()), abs=1e-5)
    assert row["background"]["label"] in others
    assert row["none_of_these"] == (row["background"]["similarity"] > row["similarity"])


@pytest.fixture
def labelled(tiny_runs):
    """Functions of some labels: which pictures of the split are theirs, as cosines with them and classes."""
    shards, clip = Shards(tiny_runs.shards, "train"), calligram.load_clip(tiny_runs.clip)
    records = [record for record in (shards[i] for i in range(len(shards))) if "class" in record.meta]
    image_BE = clip.embed_images([record.image() for record in records])
    names = [shards.manifest.class_names[record.meta["class"]] for record in records]

    def select(labels):
        rows = [i for i, name in enumerate(names) if name in labels]
        return image_BE[rows] @ clip.embed_labels(labels).T, torch.tensor([labels.index(names[i]) for i in rows])

    return sorted(set(names)), select


@pytest.mark.parametrize("mode", ["one", "several"])
def test_calibrating_on_labelled_shards(pictures, model, tiny_runs, labelled, capsys, mode):
    """The tiny model knows next to nothing: labels that it confuses, but not always, are looked for first."""
    names, select = labelled
    for labels in map(list, combinations(names, 3)):
        cosines, classes = select(labels)
        right = cosines.gather(1, classes[:, None])
        if right.mean() - cosines.mean() > 0.003 and (cosines.argmax(1) != classes).sum() > 0:
            break
    else:
        pytest.fail("no labels that can be calibrated")
    words = ["classify", "red.png", "--labels", ",".join(labels), *model, "--json"]
    assert main(words) == 0
    (plain,) = rows(capsys)
    calibrate = ["--calibrate", str(tiny_runs.shards), "--calibrate-split", "train", "--mode", mode]
    assert main([*words, *calibrate]) == 0
    out, err = capsys.readouterr()
    assert f"calibrated on {len(classes)} pictures: temperature " in err
    assert re.search(r"expected calibration error \d\.\d{4} before, \d\.\d{4} after", err)
    row = json.loads(out)
    assert [x["label"] for x in row["labels"]] == [x["label"] for x in plain["labels"]]
    assert [x["probability"] for x in row["labels"]] != [x["probability"] for x in plain["labels"]]
    assert (sum(x["probability"] for x in row["labels"]) == pytest.approx(1, abs=1e-4)) == (mode == "one")


@pytest.mark.parametrize("mode", ["one", "several"])
def test_labels_that_the_model_does_not_know_are_told(pictures, model, tiny_runs, labelled, capsys, mode):
    names, select = labelled
    for labels in map(list, combinations(names, 3)):
        cosines, classes = select(labels)
        if cosines.gather(1, classes[:, None]).mean() - cosines.mean() < -0.003:
            break
    else:
        pytest.fail("the model knows them all")
    words = ["classify", "red.png", "--labels", ",".join(labels), *model, "--mode", mode]
    assert main([*words, "--calibrate", str(tiny_runs.shards), "--calibrate-split", "train"]) == 2
    assert "this model does not know these labels" in capsys.readouterr().err


def test_descriptions_and_template_sets(pictures, model, tiny_runs, capsys):
    (pictures / "cupl.json").write_text(json.dumps({"red": ["a red circle", "a red ring"], "blue": ["a blue ring"]}))
    clip = calligram.load_clip(tiny_runs.clip)
    image = clip.embed_images([Image.open("red.png")])[0]
    assert main(["classify", "red.png", "--labels", "red,blue", "--descriptions", "cupl.json", *model, "--json"]) == 0
    found = {x["label"]: x["probability"] for x in rows(capsys)[0]["labels"]}
    vectors = [clip.embed_texts(texts).mean(0) for texts in (["a red circle", "a red ring"], ["a blue ring"])]
    expected = (clip.model.scale().detach() * torch.stack([image @ (v / v.norm()) for v in vectors])).softmax(0)
    assert found == pytest.approx({"red": float(expected[0]), "blue": float(expected[1])}, abs=1e-5)
    assert main(["classify", "red.png", "--labels", "star,ring", "--templates", "photo", *model, "--json"]) == 0
    found = {x["label"]: x["probability"] for x in rows(capsys)[0]["labels"]}
    by_name = clip.classify([Image.open("red.png")], ["star", "ring"], ["a photo of a {}."])[0]
    assert found == pytest.approx({"star": float(by_name[0]), "ring": float(by_name[1])}, abs=1e-5)


def test_a_csv_has_a_row_a_picture(pictures, model, capsys):
    assert main(["classify", "text.png", "red.png", "blue.png", *LABELS, *model, "--out", "new/x.csv"]) == 1
    assert capsys.readouterr().out == "new/x.csv\n"
    with open("new/x.csv", newline="") as file:
        bad, red, blue = csv.DictReader(file)
    assert bad["error"] == "not an image in a known format" and bad["label 1"] == ""
    assert float(red["probability 1"]) >= float(red["probability 2"])
    assert {red[f"label {i}"] for i in (1, 2, 3)} == set(LABELS[1].split(","))
    assert blue["picture"] == "blue.png"
    assert sorted(path.name for path in (pictures / "new").iterdir()) == ["x.csv"]


def test_lines_of_json_in_a_file_are_those_on_stdout(pictures, model, capsys):
    assert main(["classify", "text.png", "red.png", *LABELS, *model, "--json", "--out", "x.jsonl"]) == 1
    assert capsys.readouterr().out == (pictures / "x.jsonl").read_text()


def test_a_page_carries_its_pictures_and_escapes_what_it_shows(pictures, model, capsys):
    (pictures / "red.png").rename(pictures / "<b>red & blue.png")
    words = ["classify", "<b>red & blue.png", "blue.png", "gone.png", "--labels", "a <script>,a ring", *model]
    assert main([*words, "--out", "x.html"]) == 1
    html = (pictures / "x.html").read_text()
    sources = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', html)
    assert len(sources) == 2
    assert "<script>" not in html and "<b>red" not in html
    assert "&lt;script&gt;" in html and "&lt;b&gt;red &amp; blue.png" in html
    assert html.index("blue.png") < html.index("gone.png") and "no such file" in html
    assert html.rstrip().endswith("</html>")


def test_a_file_that_is_given_up_is_left_aside_and_told(pictures, model, capsys, monkeypatch):
    monkeypatch.setattr("calligram.cli.verbs.classify.PICTURES_AT_ONCE", 1)
    (pictures / "x.csv").write_text("old")

    def lines():
        for _ in range(6):
            yield "red.png\n"
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", lines())
    assert main(["classify", "-", *LABELS, *model, "--out", "x.csv"]) == 130
    err = capsys.readouterr().err
    (aside,) = pictures.glob(".x.csv.*.part")
    assert f"what was done so far lies in {aside.name}" in err
    assert aside.read_text().count("red.png") >= 2
    assert (pictures / "x.csv").read_text() == "old"


def test_nothing_readable_leaves_no_file(pictures, model, capsys):
    assert main(["classify", "text.png", *LABELS, *model, "--out", "x.csv"]) == 2
    assert not list(pictures.glob("*.csv")) and not list(pictures.glob(".x*"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--out", "x.xml"], "--out x.xml: the name must end in .csv, .jsonl or .html"),
        (["--mode", "several"], "several labels a picture: this model was trained to choose one"),
        (["--mode", "all"], "--mode takes one or several, not 'all'"),
        (["--templates", "gone"], "cannot read gone (No such file or directory): templates are a file or one of none"),
        (["--templates", "photo", "--template", "{}"], "both --template and --templates"),
        (["--background", "gone.txt"], "cannot read --background gone.txt"),
        (["--background", "same.txt"], "--background same.txt has no words but the labels"),
        (["--descriptions", "gone.json"], "cannot read gone.json (No such file or directory): give a JSON file"),
        (["--calibrate", "gone"], "gone does not exist"),
        (["--labels-file", "bad.json", "--labels", ""], "--labels-file bad.json is not JSON"),
        (["--labels-file", "odd.json", "--labels", ""], "--labels-file odd.json: '3' is neither a label nor a group"),
    ],
)
def test_bad_input_is_one_line(pictures, model, capsys, words, line):
    (pictures / "same.txt").write_text("A red circle\n")
    (pictures / "bad.json").write_text("[")
    (pictures / "odd.json").write_text("[3]")
    assert main(["classify", "red.png", "--labels", "a red circle", *words, *model]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"calligram: error: {line}")
    assert err.count("\n") == 1


def test_calibrating_on_other_classes_is_one_line(pictures, model, tiny_runs, capsys):
    assert main(["classify", "red.png", "--labels", "cat", *model, "--calibrate", str(tiny_runs.shards)]) == 2
    assert "none of its class names is a label (" in capsys.readouterr().err


def test_the_door_to_a_folder_without_pictures(pictures):
    (pictures / "empty").mkdir()
    with pytest.raises(UserError, match="folder empty has no pictures"):
        find_items(["empty"])
