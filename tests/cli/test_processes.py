"""`torchrun -m calligram classify|evaluate`: what several processes find together is what one finds alone."""

import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors.torch import load_file

from calligram.cli.main import main
from calligram.cli.pictures import Item, Items, find_items
from calligram.cli.processes import RESULTS_AT_ONCE, Processes
from calligram.cli.results import Rejection, Result, pack, unpack
from tests.train.processes import ENVIRONMENT, command

LIMIT_S = 120  # a hang ends the test, and no more


def together(words: list[str], folder: Path, cache: Path, stdin: str = "") -> subprocess.CompletedProcess:
    arguments = command(["-m", "calligram.cli.main", *words], processes=2)
    environment = {**ENVIRONMENT, "CALLIGRAM_CACHE": str(cache), "COLUMNS": "80"}
    return subprocess.run(
        arguments, cwd=folder, env=environment, input=stdin, capture_output=True, text=True, timeout=LIMIT_S
    )


def rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.timeout(2 * LIMIT_S)
def test_two_processes_classify_as_one(pictures, tiny_runs, capsys, monkeypatch):
    """A list on stdin of several rounds, then shards and a tar; some unreadable, a label vector to share."""
    listed = ["red.png", "blue.png", "text.png", *["red.png", "blue.png"] * RESULTS_AT_ONCE, "gone.png"]
    (pictures / "list.txt").write_text("\n".join(listed))
    tar = next((tiny_runs.shards / "test").glob("*.tar"))
    words = ["classify", "-", str(tiny_runs.shards), str(tar), "--labels", "a red circle,a blue star,green"]
    words += [
        "--model",
        str(tiny_runs.clip),
        "--template",
        "{}",
        "--template",
        "the {}",
        "--background",
        "words.txt",
        "--json",
    ]
    (pictures / "words.txt").write_text("a yellow square\ntwo hearts\n")
    with (pictures / "list.txt").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert main([*words, "--out", "one.csv"]) == 1
    alone = capsys.readouterr()
    done = together([*words, "--out", "two.csv"], pictures, pictures / "shared", "\n".join(listed))
    assert done.returncode == 1, done.stderr
    ours, theirs = rows(done.stdout), rows(alone.out)
    assert [row["picture"] for row in ours] == [row["picture"] for row in theirs]
    assert len(ours) == len(listed) + 18
    for one, other in zip(ours, theirs, strict=True):
        assert one.get("error") == other.get("error") and one.get("none_of_these") == other.get("none_of_these")
        expected = {each["label"]: each["probability"] for each in other.get("labels", [])}
        assert {each["label"]: each["probability"] for each in one.get("labels", [])} == pytest.approx(
            expected, abs=1e-5
        )
    told = [line for line in done.stderr.splitlines() if line.startswith("calligram: ")]
    assert told == [line for line in alone.err.splitlines() if line.startswith("calligram: ")]
    assert told[-1] == f"calligram: 2 of {len(ours)} pictures could not be read"
    names = [line.split(",")[:2] for line in (pictures / "two.csv").read_text().splitlines()]
    assert names == [line.split(",")[:2] for line in (pictures / "one.csv").read_text().splitlines()]
    assert not list(pictures.glob(".*.part"))
    kept = {path.name: load_file(path)["labels"] for path in (pictures / "shared/labels").iterdir()}
    before = {path.name: load_file(path)["labels"] for path in (pictures / ".cache/labels").iterdir()}
    assert kept.keys() == before.keys() and len(kept) == 2
    assert all((kept[name] - before[name]).abs().max() < 1e-6 for name in kept)


@pytest.mark.timeout(2 * LIMIT_S)
def test_two_processes_evaluate_as_one(tiny_runs, tmp_path, capsys):
    words = ["evaluate", "--model", str(tiny_runs.clip), "--data", str(tiny_runs.shards), "--split", "train", "--json"]
    assert main([*words, "--max-samples", "7"]) == 0
    expected = json.loads(capsys.readouterr().out)
    done = together([*words, "--max-samples", "7", "--out", "found.json"], tmp_path, tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == pytest.approx(expected, abs=1e-6)
    assert json.loads((tmp_path / "found.json").read_text()) == json.loads(done.stdout)
    assert done.stderr.count("wrote found.json") == 1
    assert expected["clip.zero_shot.num_samples"] == 7


class Meeting:
    """Threads that stand for processes."""

    def __init__(self, size: int):
        self.size, self.told = size, [b""] * size
        self.barrier = threading.Barrier(size, timeout=20)

    def gather(self, rank: int, data: bytes) -> list[bytes]:
        self.told[rank] = data
        self.barrier.wait()
        told = list(self.told)
        self.barrier.wait()
        return told

    def merge(self, results: list[Result]) -> list[list[Result]]:
        def one(rank: int) -> list[Result]:
            processes = Processes(rank, self.size, lambda data: self.gather(rank, data))
            return list(processes.merge(results[rank :: self.size]))

        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(one, range(self.size)))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("number", [0, 1, 2, 127, 128, 129, 191, 192, 193, 500])
def test_results_come_in_the_order_of_the_input(size, number):
    results = [Result(str(i)) for i in range(number)]
    assert Meeting(size).merge(results) == [results] * size


def test_a_result_reaches_another_process_whole():
    results = [
        Result(
            "a", (("cat", 0.1 + 0.2), ("dog", 1e-30)), (("animal", 1.0),), Rejection("x", 0.5, 0.25), None, b"\xff\x00"
        ),
        Result("b \udcff", problem="no such file"),
    ]
    assert unpack(pack(results)) == results


def test_every_process_has_its_share_of_every_kind_of_input(pictures, tiny_runs):
    tar = next((tiny_runs.shards / "test").glob("*.tar"))
    whole = find_items(["red.png", str(tiny_runs.shards), "blue.png", str(tar), "gone.png"])
    names = [item.name for item in whole]
    for size in (1, 2, 3, 50):
        shares = []
        for rank in range(size):
            again = find_items(["red.png", str(tiny_runs.shards), "blue.png", str(tar), "gone.png"])
            shares.append([item.name for item in again.share(rank, size)])
        assert shares == [names[rank::size] for rank in range(size)]
    parts = ([Item("a", bytes), Item("b", bytes)], [Item("c", bytes)])
    assert [Items(parts, 3).share(rank, 2).total for rank in (0, 1)] == [2, 1]
    assert Items(parts, None).share(1, 2).total is None
