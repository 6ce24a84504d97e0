"""Files from elsewhere: whatever the network does, the right bytes come or an error that names the file."""

import hashlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import fsspec
import pytest

from calligram.data import index, remote
from calligram.data.cache import cached
from calligram.data.dataset import Shards
from calligram.data.manifest import FILE_NAME, Manifest
from calligram.data.place import is_url, join, place
from calligram.data.remote import Patience, fetch
from calligram.data.tokens import Tokens, write_tokens
from calligram.data.training import DataConfig
from calligram.data.verify import verify
from calligram.errors import UserError
from tests.data.fault_server import FaultServer
from tests.data.test_loader import assert_equal, batches

QUICK = Patience(timeout=0.4, tries=3, wait=0.01)
BODY = bytes(range(256)) * 2000
SHA = hashlib.sha256(BODY).hexdigest()
PASSING = ["stall", "stall inside", "trickle", "cut", "short", "flip", "longer", "500", "503", "429", "408"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CALLIGRAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(remote, "PATIENCE", QUICK)
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www/a b.tar").write_bytes(BODY)
    server = FaultServer(tmp_path / "www")
    yield server
    server.close()


def get(server, **options):
    return fetch(f"{server.url}/a b.tar", len(BODY), SHA, **options)


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir()] if cache.exists() else []


def test_a_file_is_fetched_once_and_keeps_its_name(server, cache):
    path = get(server)
    assert path.read_bytes() == BODY
    assert path.parent == cache and path.name.endswith("-a_b.tar")
    assert get(server) == path == cached(f"{server.url}/a b.tar", SHA)
    assert server.requests.total() == 1 and leftovers(cache) == [path.name]


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_tried_again(server, cache, caplog, fault):
    server.faults["/a%20b.tar"] = [fault]
    with caplog.at_level(logging.WARNING):
        path = get(server)
    assert path.read_bytes() == BODY
    assert server.requests.total() == 2 and leftovers(cache) == [path.name]
    assert f"{server.url}/a b.tar: " in caplog.text and "; again in " in caplog.text


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("stall", "stalled for 0.4 s"),
        ("stall inside", "stalled for 0.4 s"),
        ("trickle", "stalled for 0.4 s"),
        ("cut", "cut off after 256,000 of 512,000 bytes"),
        ("short", "cut off after 511,900 of 512,000 bytes"),
        ("flip", "its sha256 is not the manifest's"),
        ("longer", "it has 512,512 bytes, the manifest says 512,000"),
        ("500", "the server answers 500 Internal Server Error"),
    ],
)
def test_what_does_not_pass_fails_by_name(server, cache, fault, said):
    server.faults["/a%20b.tar"] = [f"{fault}!"]
    with pytest.raises(UserError) as problem:
        get(server)
    assert str(problem.value).startswith(f"{server.url}/a b.tar: {said}; tried 3 times: check the server")
    assert server.requests.total() == 3 and leftovers(cache) == []


@pytest.mark.parametrize(
    ("fault", "said"), [("404", "404 Not Found"), ("403", "403 Forbidden"), ("401", "401 Unauthorized")]
)
def test_no_is_an_answer(server, cache, fault, said):
    server.faults["/a%20b.tar"] = [fault]
    with pytest.raises(UserError, match=f"a b.tar: the server answers {said}; check the address"):
        get(server)
    assert server.requests.total() == 1 and leftovers(cache) == []


def test_a_server_that_is_not_there(server):
    server.close()
    with pytest.raises(UserError, match=r"a b\.tar: .*refused; tried 3 times"):
        get(server)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("xyz://a/b.tar", "xyz://a/b.tar: Protocol not known: xyz; http, https, s3, gs and hf can be read"),
        ("http://h:x/b.tar", "http://h:x/b.tar: not a URL"),
        ("memory://no/b.tar", "memory://no/b.tar: there is no such file; check the address"),
    ],
)
def test_what_is_no_use_to_try_again(url, said, caplog):
    with pytest.raises(UserError, match=said):
        fetch(url)
    assert not caplog.text


def test_a_missing_library_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r"s3:// needs a library that is missing .*pip install 'calligram\[remote\]'"):
        remote.check("s3://bucket/a.tar")


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_other_roads_go_through_fsspec(kind, tmp_path):
    url = f"memory://{tmp_path.name}/a.tar" if kind == "memory" else f"file://{tmp_path}/a.tar"
    with fsspec.open(url, "wb") as file:
        file.write(BODY)
    assert fetch(url, len(BODY), SHA).read_bytes() == BODY
    with pytest.raises(UserError, match="its sha256 is not the manifest's; tried 3 times"):
        fetch(url, len(BODY), "0" * 64)


def test_a_stall_on_the_other_roads_is_noticed(tmp_path, monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(MemoryFileSystem, "_open", lambda *_, **__: time.sleep(5))
    with pytest.raises(UserError, match=r"stalled for 0\.4 s; tried 3 times"):
        fetch("memory://a/b.tar")


def test_a_disk_that_is_full_is_not_the_networks_fault(server, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot be kept in .*No space left.* in CALLIGRAM_CACHE"):
        get(server)
    assert server.requests.total() == 1


def test_a_copy_that_was_cut_off_on_this_machine_is_fetched_again(server):
    path = get(server)
    path.write_bytes(BODY[:100])
    assert get(server).read_bytes() == BODY


def _get_in_process(url, queue):
    queue.put(fetch(url, len(BODY), SHA, Patience(timeout=5)).read_bytes() == BODY)


def test_of_several_processes_one_downloads(server, cache):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    url = f"{server.url}/a b.tar"
    children = [context.Process(target=_get_in_process, args=(url, queue)) for _ in range(4)]
    for child in children:
        child.start()
    assert [queue.get(timeout=60) for _ in children] == [True] * 4
    for child in children:
        child.join()
    assert server.requests.total() == 1
    assert leftovers(cache) == [cached(url, SHA).name]


def test_a_download_that_was_killed_leaves_nothing_in_the_way(server, cache):
    server.faults["/a%20b.tar"] = ["stall inside"]
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_get_in_process, args=(f"{server.url}/a b.tar", context.Queue()))
    child.start()
    part = cache / f".{cached(f'{server.url}/a b.tar', SHA).name}.part"
    end = time.monotonic() + 30
    while not part.exists() or server.requests.total() == 0:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert part.exists()
    path = get(server)
    assert path.read_bytes() == BODY and leftovers(cache) == [path.name]


def test_a_command_runs_only_where_allowed(tmp_path, cache):
    source = tmp_path / "a.tar"
    source.write_bytes(BODY)
    url = f"pipe:cat {source}"
    with pytest.raises(UserError, match="only `calligram data index --allow-pipe` runs"):
        fetch(url, len(BODY), SHA)
    assert fetch(url, len(BODY), SHA, allow_pipe=True).read_bytes() == BODY
    assert fetch(url, allow_pipe=True) == cached(url, SHA)
    source.unlink()
    assert fetch(url, len(BODY), SHA).read_bytes() == BODY  # what is there needs no command
    with pytest.raises(UserError, match="the command ends with status 1; tried 3 times"):
        fetch(url, allow_pipe=True)
    with pytest.raises(UserError, match=r"stalled for 0\.4 s"):
        fetch("pipe:echo a; sleep 20", allow_pipe=True)
    assert [name for name in leftovers(cache) if name.startswith(".")] == []


def test_a_manifest_is_read_until_two_readings_agree(server, tmp_path):
    path = f"/{FILE_NAME}"
    (tmp_path / "www" / FILE_NAME).write_text(Manifest(name="x", licence="y" * 100, splits={}).model_dump_json())
    server.faults[path] = ["", "flip"]
    assert Manifest.load(server.url).licence == "y" * 100
    assert server.requests[path] == 4
    server.faults[path] = ["flip!"]
    with pytest.raises(UserError, match=r"manifest\.json: two readings of it differ; tried 3 times"):
        Manifest.load(server.url)


def test_places():
    assert is_url("s3://a/b") and is_url("pipe:cat a") and not is_url("a/b") and not is_url("c:/x")
    assert place("a/b") == Path("a/b") and place("http://a//b") == "http://a//b"
    assert join(Path("d"), "train/a.tar") == Path("d/train/a.tar") and join("d", "/x/a.tar") == Path("/x/a.tar")
    assert join("d", "s3://b/a.tar") == "s3://b/a.tar"
    assert join("http://h/d/?key=1", "tr ain/a#.tar") == "http://h/d/tr%20ain/a%23.tar?key=1"
    assert join("s3://bucket/d/", "../e/a b.tar") == "s3://bucket/e/a b.tar"
    config = DataConfig.model_validate({"shards": "http://h/d", "mix": ["a", "s3://b/c"]})
    assert config.shards == "http://h/d" and config.mix == (Path("a"), "s3://b/c")
    assert DataConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_from_a_web_server_gives_the_batches_of_the_local_folder(folder, far, num_workers):
    for number, fault in enumerate(["stall inside", "cut", "flip"]):
        far.faults[f"/train/00000{number}.tar"] = [fault]
    assert_equal(batches(far.url, num_workers=num_workers), batches(folder))
    assert all(far.requests[f"/train/00000{number}.tar"] == 2 for number in range(3))


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("fault", ["flip!", "cut!", "404!"])
def test_training_without_a_shard_fails_and_takes_no_other_sample(far, fault, num_workers):
    far.faults["/train/000001.tar"] = [fault]
    with pytest.raises(UserError, match=r"http://.*/train/000001\.tar: "):
        batches(far.url, num_workers=num_workers)


def test_shards_are_fetched_when_they_are_needed(far, folder, cache):
    shards, local = Shards(far.url, "train"), Shards(folder, "train")
    assert [path for path in far.requests if path.endswith(".tar")] == []
    assert shards[12].image_bytes == local[12].image_bytes and shards[12].captions == local[12].captions
    assert [path for path in far.requests if path.endswith(".tar")] == ["/train/000001.tar"]
    tar = shards.paths[1]
    assert tar.parent == cache and index.side_car(tar).read_bytes() == index.side_car(local.paths[1]).read_bytes()


def test_tokens_lie_beside_the_copies(far):
    shards = Shards(far.url, "train")
    write_tokens(shards, "abc", 16, lambda images: images.flatten(1)[:, :4].long())
    assert Tokens(Shards(far.url, "train"), "abc").rows(2).shape == (3, 4)


def test_verify_names_what_cannot_be_fetched(far):
    far.faults["/train/000001.tar"] = ["cut!"]
    far.faults["/test/000000.tar"] = ["404!"]
    problems = list(verify(far.url))
    assert [problem.shard for problem in problems] == ["train/000001.tar", "test/000000.tar"]
    assert "cut off after" in problems[0].message and "404" in problems[1].message
