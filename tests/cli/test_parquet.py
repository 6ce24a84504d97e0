"""`calligram embed --out FILE.parquet`: the same index as a folder, in one file that others read."""

import json
import sys

import numpy as np
import pytest

from calligram.cli import parquet as module
from calligram.cli.index import open_vectors, open_writer
from calligram.cli.main import main
from calligram.cli.nearest import nearest, nearest_exact
from calligram.cli.parquet import ParquetVectors, ParquetWriter
from calligram.cli.vectors import IndexFile
from calligram.errors import UserError

FACTS = {"model": "m", "model_hash": "h", "kind": "texts", "dtype": "float32"}


def test_without_the_library_one_line_says_so(pictures, tiny_runs, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (pictures / "x.parquet").write_bytes(b"")
    for words in (["embed", "red.png", "--out", "new.parquet"], ["search", "x", "--index", "x.parquet"]):
        assert main([*words, "--model", str(tiny_runs.clip)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "needs a library that is missing: pip install 'calligram[parquet]'" in err


pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra")


@pytest.fixture
def model(tiny_runs) -> list[str]:
    return ["--model", str(tiny_runs.clip)]


def unit(count: int, dims: int = 8) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(count, dims)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def index_of(rows: np.ndarray, path, at_once: int = 7) -> ParquetVectors:
    writer = open_writer(path, rows.shape[1], "float32", "texts")
    assert isinstance(writer, ParquetWriter)
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        writer.add(part, [{"text": str(start + i), "line": start + i} for i in range(len(part))])
    writer.close(IndexFile(**FACTS, dims=rows.shape[1], count=len(rows)))
    found = open_vectors(path)
    assert isinstance(found, ParquetVectors)
    return found


def test_a_file_finds_what_a_folder_finds(pictures, model, tiny_runs, capsys):
    inputs = ["red.png", "text.png", "blue.png", str(tiny_runs.shards)]
    found = []
    for out in ("index", "index.parquet"):
        assert main(["embed", *inputs, "--out", out, *model]) == 1
        assert capsys.readouterr().out == f"{out}\n"
        assert main(["search", "a red circle", "--index", out, "--json"]) == 0
        found.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert found[0] == found[1] and len(found[0]) == 10
    assert {"shards", "split", "sample", "class"} <= {name for row in found[1] for name in row}
    assert main(["search", "x", "--index", "index.parquet", "--top-k", "1", "--html", "x.html"]) == 0
    assert (pictures / "x.html").read_text().count('<img src="data:image/jpeg') == 1
    assert not list(pictures.glob(".index.parquet*"))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_captions_and_precision(pictures, model, tiny_runs, dtype):
    words = [str(tiny_runs.shards), "--captions", "--split", "train", "--dtype", dtype, *model]
    assert main(["embed", *words, "--out", "captions"]) == 0
    assert main(["embed", *words, "--out", "captions.parquet"]) == 0
    table = pq.read_table("captions.parquet")
    rows = np.stack(table["embedding"].to_numpy())
    assert rows.dtype == dtype and np.array_equal(rows, np.load("captions/vectors.npy"))
    texts = [json.loads(line)["text"] for line in (pictures / "captions/items.jsonl").read_text().splitlines()]
    assert table["text"].to_pylist() == texts


def test_rows_go_to_disk_and_come_back_by_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 10)
    rows = unit(33)
    found = index_of(rows, tmp_path / "i.parquet")
    assert [found.file.metadata.row_group(i).num_rows for i in range(found.file.num_row_groups)] == [10, 10, 10, 3]
    assert np.array_equal(found.rows_NE[:], rows)
    for start, stop in ((0, 5), (8, 12), (10, 20), (5, 33), (32, 99), (4, 4), (33, 40)):
        assert np.array_equal(found.rows_NE[start:stop], rows[start:stop])
    assert np.array_equal(found.rows_NE[[31, 0, 12, 12]], rows[[31, 0, 12, 12]])
    assert found.facts([31, 0, 12, 12]) == [{"text": str(i), "line": i} for i in (31, 0, 12, 12)]
    assert nearest(found, rows[17], 5) == nearest_exact(rows, rows[17], 5)
    read, whole = [], found.file.read_row_group
    monkeypatch.setattr(
        found.file, "read_row_group", lambda *words, **others: read.append(words) or whole(*words, **others)
    )
    found.facts([12, 13])
    assert read == [(1,)], "the other groups are left alone"


def test_an_index_is_replaced_but_nothing_else(pictures, model, capsys):
    for inputs in (["red.png"], ["red.png", "blue.png"]):
        assert main(["embed", *inputs, "--out", "i.parquet", *model]) == 0
    assert main(["embed", "text.png", "--out", "i.parquet", *model]) == 2
    assert len(open_vectors(pictures / "i.parquet").rows_NE) == 2, "what fails leaves the old one"
    (pictures / "mine.parquet").write_text("dear diary")
    (pictures / "folder.parquet").mkdir()
    capsys.readouterr()
    for name, reason in (("mine", "is there already and is no index"), ("folder", "is a folder")):
        assert main(["embed", "red.png", "--out", f"{name}.parquet", *model]) == 2
        assert reason in capsys.readouterr().err
    assert sorted(path.name for path in pictures.glob("*.parquet")) == ["folder.parquet", "i.parquet", "mine.parquet"]
    assert not list(pictures.glob(".*.part"))


@pytest.mark.parametrize("damage", ["gone", "text", "cut", "another", "rows", "short"])
def test_a_damaged_file_is_one_line(tmp_path, damage):
    path = tmp_path / "i.parquet"
    index_of(unit(20), path)
    table = pq.read_table(path)
    match damage:
        case "gone":
            path.unlink()
        case "text":
            path.write_text("hello")
        case "cut":
            path.write_bytes(path.read_bytes()[:-40])
        case "another":
            pq.write_table(table.replace_schema_metadata({}), path)
        case "rows":
            facts = IndexFile(**FACTS, dims=8, count=20).model_dump_json()
            pq.write_table(table.slice(0, 5).replace_schema_metadata({"calligram": facts}), path)
        case "short":
            facts = IndexFile(**FACTS, dims=9, count=20).model_dump_json()
            pq.write_table(table.replace_schema_metadata({"calligram": facts}), path)
    with pytest.raises(UserError, match=r"make it anew with `calligram embed`"):
        _ = ParquetVectors.open(path).rows_NE[:3]


def test_embedding_reader_takes_it_as_it_is(tmp_path):
    reader = pytest.importorskip("embedding_reader", reason="the reader of clip-retrieval and autofaiss")
    index_of(unit(20), tmp_path / "i.parquet")
    found = reader.EmbeddingReader(str(tmp_path), file_format="parquet", meta_columns=["text"])
    (batch,) = found(batch_size=20)
    assert np.array_equal(batch[0], unit(20)) and batch[1]["text"].tolist() == [str(i) for i in range(20)]
