"""`calligram embed` and `calligram search`: folders of vectors, and what is nearest in them."""

import importlib.util
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import calligram
from calligram.cli import nearest as search
from calligram.cli.main import main
from calligram.cli.nearest import nearest, nearest_exact
from calligram.cli.vectors import GRAPH, INDEX, ITEMS, VECTORS, IndexFile, Vectors, VectorWriter
from calligram.data.dataset import Shards
from calligram.errors import UserError


@pytest.fixture
def model(tiny_runs) -> list[str]:
    return ["--model", str(tiny_runs.clip)]


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def index_of(rows: np.ndarray, folder) -> Vectors:
    writer = VectorWriter(folder, rows.shape[1], "float32")
    writer.add(rows, [{"text": str(i)} for i in range(len(rows))])
    facts = {"model": "m", "model_hash": "h", "kind": "texts", "dtype": "float32"}
    writer.close(IndexFile(**facts, dims=rows.shape[1], count=len(rows)))
    return Vectors.open(folder)


def unit(count: int, dims: int = 8) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(count, dims)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_pictures_become_vectors_and_are_found_again(pictures, model, tiny_runs, capsys):
    assert main(["embed", "red.png", "text.png", "blue.png", "--out", "index", *model]) == 1
    out, err = capsys.readouterr()
    assert out == "index\n"
    assert err.splitlines()[-2:] == [
        "calligram: text.png: not an image in a known format",
        "calligram: 1 of 3 pictures could not be read",
    ]
    clip = calligram.load_clip(tiny_runs.clip)
    expected = clip.embed_images([Image.open("red.png"), Image.open("blue.png")]).numpy()
    found = np.load(pictures / "index" / VECTORS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [row["picture"] for row in lines(pictures / "index" / ITEMS)] == ["red.png", "blue.png"]
    facts = json.loads((pictures / "index" / INDEX).read_text())
    assert (facts["count"], facts["dims"], facts["kind"], facts["unreadable"]) == (2, 8, "pictures", 1)

    assert main(["search", "a red circle", "--index", "index", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    cosines = expected @ clip.embed_texts(["a red circle"])[0].numpy()
    assert [row["score"] for row in rows] == pytest.approx(sorted(cosines.tolist(), reverse=True), abs=1e-5)
    assert rows[0]["picture"] == ["red.png", "blue.png"][int(cosines.argmax())]

    assert main(["search", "--image", "blue.png", "--index", "index", "--top-k", "1", "--html", "x.html"]) == 0
    html = (pictures / "x.html").read_text()
    assert len(re.findall('<img src="data:image/jpeg', html)) == 1
    assert "blue.png" in html and "1.000" in html
    assert main(["search", "--image", "blue.png", "--index", "index"]) == 0
    assert re.search(r"1\s+1\.000\s+blue\.png", capsys.readouterr().out)


def test_thumbnails_are_found_from_another_folder(pictures, model, tiny_runs, monkeypatch):
    """Of files, of a tar and of shards, all named relative to where the index was made."""
    shutil.copytree(tiny_runs.shards, "shards")
    shutil.copy("shards/test/000000.tar", "some.tar")
    for words in (["red.png"], ["some.tar"], ["shards", "--split", "test"]):
        monkeypatch.chdir(pictures)
        assert main(["embed", *words, "--out", "index", *model]) == 0
        (pictures / "elsewhere").mkdir(exist_ok=True)
        monkeypatch.chdir(pictures / "elsewhere")
        assert main(["search", "a red circle", "--index", "../index", "--top-k", "1", "--html", "x.html"]) == 0
        assert (pictures / "elsewhere/x.html").read_text().count('<img src="data:image/jpeg') == 1, words


def test_texts_by_lines_and_captions_of_shards(pictures, model, tiny_runs, capsys):
    (pictures / "words.txt").write_text("a red circle\n\ntwo stars\n" + "very " * 50 + "long\n")
    assert main(["embed", "words.txt", "--out", "words", "--dtype", "float16", *model]) == 0
    found = np.load(pictures / "words" / VECTORS)
    assert (found.dtype, found.shape) == (np.float16, (3, 8))
    clip = calligram.load_clip(tiny_runs.clip)
    np.testing.assert_allclose(found[:2], clip.embed_texts(["a red circle", "two stars"]).numpy(), atol=2e-3)
    assert [row["line"] for row in lines(pictures / "words" / ITEMS)] == [1, 3, 4]
    assert main(["search", "two stars", "--index", "words", "--top-k", "1"]) == 0
    assert "two stars" in capsys.readouterr().out

    assert main(["embed", str(tiny_runs.shards), "--captions", "--split", "train", "--out", "caps", *model]) == 0
    shards = Shards(tiny_runs.shards, "train")
    texts = [caption for i in range(len(shards)) for caption in shards.read_captions(i)]
    assert [row["text"] for row in lines(pictures / "caps" / ITEMS)] == texts
    np.testing.assert_allclose(np.load(pictures / "caps" / VECTORS), clip.embed_texts(texts, False).numpy(), atol=1e-5)


def test_an_index_is_replaced_but_nothing_else(pictures, model, capsys):
    assert main(["embed", "red.png", "--out", "index", *model]) == 0
    assert main(["embed", "red.png", "blue.png", "--out", "index", *model]) == 0
    assert len(np.load("index/vectors.npy")) == 2
    assert main(["embed", "text.png", "--out", "index", *model]) == 2
    assert len(np.load("index/vectors.npy")) == 2, "what fails leaves the old one"
    assert not list(pictures.glob(".index*"))
    (pictures / "mine").mkdir()
    (pictures / "mine/letter.txt").write_text("x")
    capsys.readouterr()
    assert main(["embed", "red.png", "--out", "mine", *model]) == 2
    assert "--out mine is there already and is no index" in capsys.readouterr().err


def test_another_model_is_refused(pictures, model, tiny_runs, capsys):
    (pictures / "words.txt").write_text("a red circle\n")
    shutil.copytree(tiny_runs.clip, "other", symlinks=True)
    shutil.copytree(tiny_runs.clip, "moved", symlinks=True)
    assert main(["embed", "words.txt", "--out", "index", "--model", "other"]) == 0
    from safetensors.torch import load_file, save_file

    from calligram import runs

    path = runs.weights(pictures / "other")
    tensors = load_file(path)
    tensors["text_projection.weight"][0, 0] += 1e-3
    save_file(tensors, path)
    capsys.readouterr()
    assert main(["search", "x", "--index", "index"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "is not the model that index was made with" in err
    shutil.rmtree("other")
    assert main(["search", "x", "--index", "index"]) == 2
    assert "is not there: say where it lies now as --model" in capsys.readouterr().err
    assert main(["search", "x", "--index", "index", "--model", "moved"]) == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["search", "--index", "index"], "give either WORDS in quotes"),
        (["search", "x", "--image", "red.png", "--index", "index"], "give either WORDS in quotes"),
        (["search", " ", "--index", "index"], "WORDS are empty"),
        (["search", "x", "--index", "gone"], "gone is no index of vectors (No such file or directory)"),
        (["search", "x", "--index", "index", "--html", "x.txt"], "--html x.txt: the name must end in .html or .htm"),
        (["search", "--image", "text.png", "--index", "index"], "cannot read --image text.png: not an image"),
        (["embed", "--out", "new"], "missing: INPUT..."),
        (["embed", "red.png", "a.txt", "--out", "new"], "both texts and pictures (red.png, a.txt)"),
        (["embed", "gone.txt", "--out", "new"], "cannot read gone.txt"),
        (["embed", "empty.txt", "--out", "new"], "empty.txt has no texts"),
        (["embed", "red.png", "--captions", "--out", "new"], "--captions: red.png is no folder of shards"),
    ],
)
def test_bad_input_is_one_line(pictures, model, capsys, words, line):
    (pictures / "empty.txt").write_text("\n")
    if "index" in words:
        assert main(["embed", "red.png", "--out", "index", *model]) == 0
        capsys.readouterr()
    assert main([*words, *(model if words[0] == "embed" else [])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"calligram: error: {line}")
    assert err.count("\n") == 1
    assert not (pictures / "new").exists()


@pytest.mark.parametrize("damage", ["json", "type", "vectors", "short", "pickle"])
def test_a_damaged_index_is_one_line(tmp_path, damage):
    index_of(unit(5), tmp_path / "i")
    match damage:
        case "json":
            (tmp_path / "i" / INDEX).write_text("{")
        case "type":
            (tmp_path / "i" / INDEX).write_text('{"type": "clip"}')
        case "vectors":
            (tmp_path / "i" / VECTORS).write_bytes(b"hello")
        case "short":
            np.save(tmp_path / "i" / VECTORS, unit(4))
        case "pickle":
            np.save(tmp_path / "i" / VECTORS, np.array([{}], object), allow_pickle=True)
    with pytest.raises(UserError, match=r"make it anew with `calligram embed`"):
        Vectors.open(tmp_path / "i")


def test_the_exact_search_is_a_sort_of_all_cosines(monkeypatch):
    rows = unit(1000)
    rows[17] = rows[3]  # equal ones: the first stays first
    query = rows[3]
    cosines = rows @ query
    expected = np.argsort(-cosines, kind="stable")
    for at_once in (7, 64, 5000):
        monkeypatch.setattr(search, "ROWS_AT_ONCE", at_once)
        for top_k in (1, 10, 1000, 3000):
            hits = nearest_exact(rows, query, top_k)
            found = [row for row, _ in hits]
            assert sorted(found) == sorted(expected[:top_k].tolist())
            assert found[: min(2, top_k)] == [3, 17][:top_k]
            np.testing.assert_allclose([score for _, score in hits], cosines[found], atol=1e-6)


def test_without_usearch_the_search_is_exact_and_says_so(tmp_path, monkeypatch, capsys):
    vectors = index_of(unit(50), tmp_path / "i")
    monkeypatch.setattr(search, "_usearch", lambda: None)
    monkeypatch.setattr(search, "LARGE", 50)
    query = np.asarray(vectors.rows_NE[7])
    assert nearest(vectors, query, 3)[0][0] == 7
    assert "looking at all 50 vectors; pip install 'calligram[search]'" in capsys.readouterr().err
    with pytest.raises(UserError, match="--method usearch needs a library that is missing"):
        nearest(vectors, query, 3, "usearch")


@pytest.mark.skipif(importlib.util.find_spec("usearch") is None, reason="usearch is an extra")
def test_usearch_finds_nearly_always_the_same_and_keeps_its_graph(tmp_path, monkeypatch, capsys):
    vectors = index_of(unit(2000, 16), tmp_path / "i")
    queries = unit(40, 16)
    for _ in range(2):
        same = sum(
            len(
                {row for row, _ in nearest(vectors, q, 10, "usearch")}
                & {row for row, _ in nearest_exact(vectors.rows_NE, q, 10)}
            )
            for q in queries
        )
        assert same >= 0.95 * 400
        assert (tmp_path / "i" / GRAPH).is_file()
        monkeypatch.setattr(search, "_build_graph", lambda *_: pytest.fail("made again"))
    monkeypatch.undo()
    (tmp_path / "i" / GRAPH).write_bytes(b"hello")
    assert nearest(vectors, queries[0], 10, "usearch")[0] == pytest.approx(
        nearest_exact(vectors.rows_NE, queries[0], 1)[0]
    )
