"""``calligram data make|verify|index|info`` as a person types them."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from calligram.cli.main import main
from calligram.data import index, remote
from calligram.data.manifest import Manifest
from calligram.data.shard import read_index
from calligram.data.sources import sources
from calligram.errors import UserError
from tests.data.fault_server import FaultServer

MAKE = "data make shapes --num-samples 7 --num-test 3 --num-holdout 0 --processes 1".split()


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def photos(here) -> Path:
    """Two classes, one picture that is text, and one that nothing is said about."""
    folder = here / "photos"
    for number, name in enumerate(["cat/a.png", "cat/b.png", "dog/c.png", "nothing.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (number, 0, 0)).save(folder / name)
    (folder / "dog/text.png").write_text("hello")
    return folder


def test_make_without_a_name_lists_the_sources(capsys):
    assert main(["data", "make"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in sources())


def test_make_writes_what_it_was_told(here, capsys):
    assert main([*MAKE, "--samples-per-shard", "4", "--out", "sets/mine"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["split", "samples", "shards"],
        ["train", "7", "2"],
        ["test", "3", "1"],
        ["holdout", "0", "0"],
    ]
    assert "sets/mine is ready, licence: CC0-1.0" in err
    assert Manifest.load(here / "sets/mine").num_samples("train") == 7


def test_make_has_a_place_of_its_own(here):
    assert main(MAKE) == 0
    assert (here / "shards/shapes/manifest.json").is_file()


def test_make_from_a_folder_reports_what_it_left_out(photos, capsys):
    assert main(["data", "make", "folder", "--root", "photos", "--test-fraction", "0", "--out", "pets"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[:2] == ["train", "3"]
    assert "left out 2 pictures:\n" in err
    assert "photos/dog/text.png: not a picture" in err
    assert "photos/nothing.png: nothing says what it shows" in err
    assert Manifest.load(Path("pets")).class_names == ["cat", "dog"]


def test_make_names_no_more_than_a_few(photos, capsys):
    for number in range(9):
        (photos / f"cat/bad{number}.png").write_text("no")
    assert main(["data", "make", "folder", "--root", "photos", "--test-fraction", "0", "--out", "pets"]) == 0
    err = capsys.readouterr().err
    assert "left out 11 pictures:\n" in err
    assert err.count("not a picture") <= 5
    assert "  and 6 more\n" in err


def test_verify_is_content_with_what_make_wrote(here, capsys):
    main(MAKE)
    capsys.readouterr()
    assert main(["data", "verify", "shards/shapes"]) == 0
    assert capsys.readouterr().out == "2 shards, 10 samples: no problems\n"


def test_verify_tells_all_that_is_wrong(here, capsys):
    main(MAKE)
    Path("shards/shapes/test/000000.tar").unlink()
    train = Path("shards/shapes/train/000000.tar")
    sample = read_index(train)[2]
    data = bytearray(train.read_bytes())
    data[sample.members["txt"].offset] ^= 1
    train.write_bytes(data)
    capsys.readouterr()
    assert main(["data", "verify", "shards/shapes"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "train/000000.tar: its bytes have changed: the sha256 is not the manifest's",
        f"train/000000.tar, sample {sample.key}: .txt has changed since it was indexed (its crc32)",
        "test/000000.tar: the file is missing",
        "2 shards, 10 samples: 3 problems",
    ]
    assert main(["data", "verify", "shards/shapes", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["shards"] == 2
    assert report["problems"][2] == {"shard": "test/000000.tar", "key": None, "message": "the file is missing"}


def test_index_makes_lost_ones_anew(here, capsys):
    main(MAKE)
    side_car = index.side_car(Path("shards/shapes/train/000000.tar"))
    before = side_car.read_bytes()
    side_car.write_text("[]")
    capsys.readouterr()
    assert main(["data", "index", "shards/shapes"]) == 0
    assert capsys.readouterr().out == "indexed 2 shards, 10 samples\n"
    assert side_car.read_bytes() == before


def test_index_takes_tars_from_elsewhere(here, capsys):
    main(MAKE)
    Path("plain").mkdir()
    shutil.copy("shards/shapes/train/000000.tar", "plain/a.tar")
    capsys.readouterr()
    assert main(["data", "index", "plain"]) == 0
    assert capsys.readouterr().out == "indexed 1 shard, 7 samples\n"
    assert len(read_index(Path("plain/a.tar"))) == 7
    assert Manifest.load(Path("plain")).num_samples("train") == 7


def test_index_of_nothing_usable_is_bad_input_and_leaves_no_manifest(here, capsys):
    (here / "plain").mkdir()
    with tarfile.open("plain/a.tar", "w") as tar:
        for name in ("a.bin", "b.bin"):
            tar.addfile(tarfile.TarInfo(name))
    for words in (["plain"], ["plain/a.tar", "--out", "new/set"]):
        assert main(["data", "index", *words]) == 2
        out, err = capsys.readouterr()
        (line,) = [line for line in err.splitlines() if line.startswith("calligram: error: ")]
        assert out == "" and "has no sample that can be used (2 left out: no caption or class)" in line
    assert not (here / "plain/manifest.json").exists() and not (here / "new").exists()


def test_one_is_no_plural(here, capsys):
    assert main([*"data make shapes --num-samples 1 --num-test 0 --num-holdout 0 --processes 1".split()]) == 0
    assert main(["data", "index", "shards/shapes"]) == 0
    assert main(["data", "verify", "shards/shapes"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["indexed 1 shard, 1 sample", "1 shard, 1 sample: no problems"]


def test_make_leaves_nothing_behind_where_it_fails(here, capsys, monkeypatch):
    """Neither the folder of --out nor those around it, but what was there before."""

    def broken(source, split: str, i: int) -> None:
        raise UserError("no more ink")

    monkeypatch.setattr(sources()["shapes"], "sample", broken)
    (here / "old").mkdir()
    for out in ("new/deep/set", "old/set"):
        assert main([*MAKE, "--out", out]) == 2
        assert "no more ink" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["old"] and not list((here / "old").iterdir())


@pytest.fixture
def drawings(here, monkeypatch, capsys):
    """Two shards of one split, on a web server, too."""
    monkeypatch.setenv("CALLIGRAM_CACHE", str(here / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(remote, "PATIENCE", remote.Patience(timeout=5, tries=2, wait=0.01))
    main([*MAKE, "--samples-per-shard", "4"])
    capsys.readouterr()
    server = FaultServer(here / "shards/shapes")
    yield server
    server.close()


def files(folder: str, split: str = "train") -> list[str]:
    return [shard.file for shard in Manifest.load(Path(folder)).splits[split]]


def test_index_takes_patterns_and_splits_one_by_one(drawings, here, capsys):
    assert main(["data", "index", "shards/shapes/train/*.tar", "--out", "shards/set"]) == 0
    assert (
        main(["data", "index", "shards/shapes/test/{000000..000000}.tar", "--out", "shards/set", "--split", "dev"]) == 0
    )
    assert capsys.readouterr().out == "indexed 2 shards, 7 samples\nindexed 1 shard, 3 samples\n"
    assert files("shards/set") == ["../shapes/train/000000.tar", "../shapes/train/000001.tar"]
    assert files("shards/set", "dev") == ["../shapes/test/000000.tar"]
    assert main(["data", "verify", "shards/set"]) == 0
    assert main(["data", "index", "shards/shapes/train/*.tar", "--out", "far/away/set"]) == 0
    assert files("far/away/set") == [str(here / f"shards/shapes/train/00000{i}.tar") for i in (0, 1)]


def test_index_of_urls_downloads_once(drawings, capsys):
    drawings.faults["/train/000001.tar"] = ["cut"]
    urls = f"{drawings.url}/train/{{000000..000001}}.tar"
    assert main(["data", "index", urls, "--out", "set"]) == 0
    assert capsys.readouterr().out == "indexed 2 shards, 7 samples\n"
    assert files("set") == [f"{drawings.url}/train/00000{i}.tar" for i in (0, 1)]
    for verb in ("info", "verify", "index"):  # all of it is there now
        assert main(["data", verb, "set"]) == 0
    assert drawings.requests == {"/train/000000.tar": 1, "/train/000001.tar": 2}
    ours, theirs = (Manifest.load(Path(folder)).digest("train") for folder in ("set", "shards/shapes"))
    assert ours == theirs


def test_verbs_take_the_url_of_a_data_set(drawings, capsys):
    assert main(["data", "info", drawings.url]) == 0
    assert capsys.readouterr().out.startswith("shapes: 48 classes, licence: CC0-1.0\n")
    assert main(["data", "verify", drawings.url]) == 0
    assert capsys.readouterr().out == "3 shards, 10 samples: no problems\n"


def test_a_command_is_run_only_where_allowed(drawings, capsys):
    pipe = "pipe:touch ran; cat shards/shapes/train/000000.tar"
    assert main(["data", "index", pipe, "--out", "set"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"calligram: error: {pipe} would run a command in a shell: give --allow-pipe")
    assert err.count("\n") == 1 and not Path("ran").exists()
    assert main(["data", "index", pipe, "--out", "set", "--allow-pipe"]) == 0
    assert capsys.readouterr().out == "indexed 1 shard, 4 samples\n"
    Path("ran").unlink()
    assert main(["data", "verify", "set"]) == 0
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("index", "missing: SHARDS"),
        ("index shards/shapes/train/*.tar", "shards/shapes/train/*.tar: give --out DIR"),
        ("index URL/train/000000.tar", "URL/train/000000.tar: give --out DIR"),
        ("index a b", "a b: give --out DIR"),
        ("index shards/shapes --split dev", "--split dev is for shards with --out"),
        ("index nowhere/*.tar --out set", "no shard matches nowhere/*.tar: give .tar files"),
        ("index a/{0..1 --out set", "a/{0..1 has a brace too many"),
        ("index URL/*.tar --out set", "URL/*.tar: a web server has no list of its files"),
        ("index URL/gone.tar --out set", "URL/gone.tar: the server answers 404 Not Found; check the address"),
        ("index URL/manifest.json --out set", "URL/manifest.json is not a readable tar"),
        ("index xyz://b/a.tar --out set", "xyz://b/a.tar: Protocol not known: xyz; http, https, s3, gs and hf"),
        (
            "index shards/shapes/train/*.tar --out shards/shapes",
            "shards/shapes/manifest.json has a split 'train' already",
        ),
        ("info URL/train", "URL/train has neither manifest.json nor test/nshards.txt: give the"),
        ("verify xyz://b", "xyz://b/manifest.json: Protocol not known: xyz"),
    ],
)
def test_bad_addresses_are_one_line(drawings, capsys, argv, line):
    assert main(["data", *argv.replace("URL", drawings.url).split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"calligram: error: {line.replace('URL', drawings.url)}")
    assert err.count("\n") == 1


def test_info_counts_what_is_bad(here, capsys):
    main(MAKE)
    path = Path("shards/shapes/train/000000.tar")
    member = read_index(path)[3].members["png"]
    with path.open("r+b") as file:
        file.seek(member.offset + 20)
        file.write(b"damage")
    capsys.readouterr()
    assert main(["data", "info", "shards/shapes"]) == 0
    line = "train: 1 of the samples looked at are bad; `calligram data verify` names them"
    assert line in capsys.readouterr().out.splitlines()


def test_info(here, capsys):
    main(MAKE)
    capsys.readouterr()
    assert main(["data", "info", "shards/shapes"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("shapes: 48 classes, licence: CC0-1.0\n")
    assert max(map(len, out.splitlines())) <= 80
    assert main(["data", "info", "shards/shapes", "--json"]) == 0
    splits = json.loads(capsys.readouterr().out)["splits"]
    assert splits["train"]["samples"] == 7
    assert splits["holdout"] == {"samples": 0, "shards": 0, "bytes": 0}
    assert splits["train"]["shorter_side"] == {"min": 64, "median": 64, "max": 64}
    assert splits["train"]["aspect_ratio"]["max"] == 1 and splits["train"]["bad"] == 0
    words = splits["train"]["caption_words"]
    assert 2 <= words["min"] <= words["median"] <= words["max"] <= 12


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("make shaps", "unknown source 'shaps'; did you mean shapes?"),
        ("make xyzzy", "unknown source 'xyzzy'; there are: emoji, "),
        ("make --out x", "calligram data make: name the source before its flags; there are: emoji, "),
        ("make shapes --num-samples 0", "--num-samples 0: should be greater than or equal to 1"),
        ("make shapes --processes 0", "--processes 0: should be greater than or equal to 1"),
        ("make shapes --out /proc/nowhere/x", "--out: cannot make the folder /proc/nowhere"),
        ("make shapes --out photos", "photos exists and is not a data set that"),
        ("make folder", "missing: --root PATH"),
        ("make folder --root nowhere", "nowhere does not exist"),
        ("verify nowhere", "nowhere does not exist: give the folder of a data set"),
        ("verify photos", "no manifest.json in photos"),
        ("index photos", "photos has no shards"),
        ("index nowhere", "nowhere is not a folder"),
        ("info nowhere", "nowhere does not exist: give the folder of a data set"),
    ],
)
def test_bad_input_is_one_line(photos, capsys, argv, line):
    assert main(["data", *argv.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"calligram: error: {line}")
    assert err.count("\n") == 1


def test_index_of_a_shard_that_is_gone(here, capsys):
    main(MAKE)
    Path("shards/shapes/test/000000.tar").unlink()
    capsys.readouterr()
    assert main(["data", "index", "shards/shapes"]) == 2
    assert (
        capsys.readouterr().err
        == "calligram: error: shard shards/shapes/test/000000.tar is missing: fetch or make the data set again\n"
    )


def test_show_leaves_out_what_cannot_be_shown(here, capsys):
    main(MAKE)
    train = Path("shards/shapes/train/000000.tar")
    sample = read_index(train)[2]
    data = bytearray(train.read_bytes())
    data[sample.members["png"].offset + 30] ^= 1
    train.write_bytes(data)
    capsys.readouterr()
    assert main(["data", "show", "shards/shapes", "-n", "400"]) == 0
    out, err = capsys.readouterr()
    assert out == "samples.png\n" and f"sample {sample.key} does not have the checksum" in err


def test_show_writes_a_sheet_of_samples(here, capsys):
    main(MAKE)
    capsys.readouterr()
    assert main(["data", "show", "shards/shapes", "-n", "5", "--out", "a/sheet.png"]) == 0
    assert capsys.readouterr().out == "a/sheet.png\n"
    with Image.open("a/sheet.png") as sheet:
        assert sheet.width > 5 * 64 and sheet.height > 64
        first = sheet.tobytes()
    assert main(["data", "show", "shards/shapes", "-n", "5", "--seed", "1", "--out", "b.png"]) == 0
    with Image.open("b.png") as other:
        assert other.tobytes() != first
    assert main(["data", "show", "shards/shapes", "--out", "sheet.pdf"]) == 2
    assert "--out sheet.pdf: the name must end in .png, .jpg or .jpeg" in capsys.readouterr().err
