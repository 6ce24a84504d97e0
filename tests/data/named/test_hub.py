"""Data sets of the Hugging Face hub by name: its answers and its files, from a server on this machine."""

import io
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.data.resolve import resolve
from calligram.data.verify import verify
from calligram.errors import UserError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

SHA = "0123456789abcdef0123456789abcdef01234567"
CLASSES = {"label": {"names": ["cat", "fire_engine", "dog"], "_type": "ClassLabel"}}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(seed: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def table(first: int, number: int, features=CLASSES, **columns) -> bytes:
    """A Parquet file as ``datasets`` writes one."""
    rows = range(first, first + number)
    kinds = ("PNG", "JPEG", "WEBP")
    images = [{"bytes": picture(i, kinds[i % 3]), "path": f"{i}.png"} for i in rows]
    columns = columns or {"label": pa.array([i // 2 % 3 for i in rows], pa.int64())}
    made = pa.table({"image": pa.array(images, IMAGE), **columns})
    info = {"info": {"features": {"image": {"_type": "Image"}, **features}}}
    buffer = io.BytesIO()
    parquet.write_table(
        made.replace_schema_metadata({"huggingface": json.dumps(info)}), buffer, row_group_size=3, compression="zstd"
    )
    return buffer.getvalue()


class Hub:
    """Answers by path: bytes as they are, all else as JSON."""

    def __init__(self):
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                hub.requests[self.path] += 1
                if self.path not in hub.answers:
                    return self.send_error(404)
                answer = hub.answers[self.path]
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.answers, self.requests = {}, Counter()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, name, files, config="default", **facts):
        """A data set: the hub's own conversion of it, and the same files in its repository."""
        converted, siblings = {}, []
        for split, bodies in files.items():
            for i, body in enumerate(bodies):
                path = f"/api/datasets/{name}/parquet/{config}/{split}/{i}.parquet"
                self.answers[path] = body
                converted.setdefault(split, []).append(self.url + path)
                original = f"data/{split}-{i:05d}-of-{len(bodies):05d}.parquet"
                self.answers[f"/datasets/{name}/resolve/{SHA}/{original}"] = body
                siblings.append({"rfilename": original})
        siblings.append({"rfilename": "README.md"})
        answer = {"id": name, "sha": SHA, "siblings": siblings, **facts}
        self.answers[f"/api/datasets/{name}"] = answer
        self.answers[f"/api/datasets/{name}/revision/v1.0"] = answer
        known = self.answers.setdefault(f"/api/datasets/{name}/parquet", {})
        known[config] = converted


@pytest.fixture
def hub(monkeypatch):
    hub = Hub()
    monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def pets(hub):
    hub.add("me/pets", {"train": [table(100, 4)], "test": [table(0, 7), table(7, 4)]}, cardData={"license": "mit"})
    return hub


def classes_by_bytes(data, split="test"):
    shards = Shards(data, split)
    return {shards[i].image_bytes: shards[i].meta["class"] for i in range(len(shards))}


def test_pictures_classes_and_licence(pets, cache):
    data = resolve("hf:me/pets")
    manifest = Manifest.load(data)
    assert manifest.class_names == ["cat", "fire engine", "dog"]
    assert manifest.licence == "mit" and manifest.name == "me/pets" and data.name == "pets"
    assert list(manifest.splits) == ["test"]
    expected = {picture(i, ("PNG", "JPEG", "WEBP")[i % 3]): i // 2 % 3 for i in range(11)}
    assert classes_by_bytes(data) == expected
    assert Shards(data, "test").read_captions(0)[0].startswith("a photo of a ")
    assert list(verify(data)) == []
    assert sorted(path.name for path in cache.iterdir()) == ["sets"], "the Parquet files are gone"
    files = Counter({path: count for path, count in pets.requests.items() if path.endswith(".parquet")})
    assert len(files) == 2 and set(files.values()) == {1}
    assert resolve("hf:me/pets") == data
    assert all(pets.requests[path] == 1 for path in files), "they are fetched once"


def test_both_splits_and_a_new_version(pets):
    data = resolve("hf:me/pets#train+test")
    assert {s: Manifest.load(data).num_samples(s) for s in Manifest.load(data).splits} == {"train": 4, "test": 11}
    before = resolve("hf:me/pets")
    pets.answers["/api/datasets/me/pets"] = {**pets.answers["/api/datasets/me/pets"], "sha": "f" * 40}
    assert resolve("hf:me/pets") != before


def test_a_revision_has_the_repository_s_own_files(pets):
    data = resolve("hf:me/pets@v1.0")
    assert len(Shards(data, "test")) == 11
    assert pets.requests[f"/datasets/me/pets/resolve/{SHA}/data/test-00000-of-00002.parquet"] == 1
    assert classes_by_bytes(data) == classes_by_bytes(resolve("hf:me/pets"))


def test_captions(hub):
    texts = pa.array([["one", "two  words"], ["three"], ["four"]])
    hub.add("me/flickr", {"test": [table(0, 3, {}, caption=texts)]})
    data = resolve("hf:me/flickr")
    assert {Shards(data, "test")[i].captions for i in range(3)} == {("one", "two words"), ("three",), ("four",)}
    assert Manifest.load(data).class_names == []
    assert Manifest.load(data).licence == f"unknown, see {hub.url}/datasets/me/flickr"


def test_the_validation_is_the_test_where_there_is_no_other(hub):
    hub.add("me/val", {"train": [table(0, 3)], "validation": [table(3, 4)]})
    assert len(Shards(resolve("hf:me/val"), "test")) == 4
    hub.add("me/train", {"train": [table(0, 3)]})
    assert len(Shards(resolve("hf:me/train"), "test")) == 3


def test_several_configs(hub):
    hub.add("me/two", {"test": [table(0, 3)]}, config="small")
    hub.add("me/two", {"test": [table(0, 5)]}, config="large")
    assert len(Shards(resolve("hf:me/two:small"), "test")) == 3
    with pytest.raises(UserError, match=r"hf:me/two has several configs, small, large: name one, hf:me/two:CONFIG"):
        resolve("hf:me/two")
    with pytest.raises(UserError, match=r"hf:me/two has no config 'big'; it has: small, large"):
        resolve("hf:me/two:big")


@pytest.mark.parametrize(
    ("features", "columns", "said"),
    [
        (CLASSES, {"label": pa.array([0, -1])}, r"row \d of test has the class -1, of 3 \(from 0\): a split whose cl"),
        (CLASSES, {"label": pa.array([0, None], pa.int64())}, r"row 1: the class is None and no number"),
        ({}, {"label": pa.array([0, 1])}, r"says nothing of its pictures that is understood here: no names of classes"),
        ({}, {"text": pa.array(["a", " "])}, r"row 1: no caption"),
        (
            {"image": {"_type": "Value"}},
            {"text": pa.array(["a", "b"])},
            r"has no pictures among its columns image, text",
        ),
    ],
)
def test_what_cannot_be_used(hub, cache, features, columns, said):
    hub.add("me/bad", {"test": [table(0, 2, features, **columns)]})
    with pytest.raises(UserError, match=said):
        resolve("hf:me/bad")
    assert not [path for path in cache.rglob("*") if path.is_file() and path.name != ".lock"]


def test_names_that_are_wrong(pets):
    with pytest.raises(UserError, match=r"hf:me/cats is not to be had .*404.*check its name, OWNER/NAME"):
        resolve("hf:me/cats")
    with pytest.raises(UserError, match=r"hf:a/b/c is no name of the hub: write hf:OWNER/NAME"):
        resolve("hf:a/b/c")
    with pytest.raises(UserError, match=r"hf:me/pets has no split 'dev'; it has: train, test"):
        resolve("hf:me/pets#dev")


def test_a_hub_that_is_none(pets, monkeypatch):
    pets.answers["/api/datasets/me/pets"] = b"<html>"
    with pytest.raises(UserError, match=r"does not answer as the Hugging Face hub does: check HF_ENDPOINT"):
        resolve("hf:me/pets")
    pets.answers["/api/datasets/me/pets"] = {}
    pets.answers[next(path for path in pets.answers if path.endswith("default/test/0.parquet"))] = b"PAR1 no more"
    with pytest.raises(UserError, match=r"hf:me/pets: a file of it is not Parquet"):
        resolve("hf:me/pets")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"hf:me/pets cannot be fetched \(.*refused.*HF_ENDPOINT names another hub"):
        resolve("hf:me/pets")
