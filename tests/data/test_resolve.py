"""What is called a data set, and what is meant by what is none."""

import pytest

from calligram.cli.main import main
from calligram.data.named.splits import choose, cut, rename
from calligram.data.resolve import resolve
from calligram.errors import UserError


def test_our_own_stay_where_they_are(folder, far):
    assert resolve(str(folder)) == folder == resolve(folder)
    assert resolve(far.url) == far.url


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shards/shaps", r"shards/shaps does not exist: did you mean shards/shapes\?"),
        ("cifar10", r"cifar10 does not exist: did you mean torchvision:CIFAR10\?"),
        ("fashion-mnist", r"did you mean torchvision:FashionMNIST\?"),
        ("me/pets-2024", r"give an existing folder, or hf:me/pets-2024 for the Hugging Face hub"),
        ("xyzzy", r"give the folder of a data set or its URL, a folder of pictures, torchvision:NAME or hf:OWNER/NAME"),
        ("empty", r"no manifest\.json in empty"),
        ("tars", r"write one for the shards in it with `calligram data index tars`"),
        ("texts", r"no usable picture in texts"),
        ("pipe:cat x", r"pipe:cat x is a command and no data set"),
    ],
)
def test_what_was_meant(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLIGRAM_CACHE", str(tmp_path / "cache"))
    for name in ("shards/shapes", "empty", "tars", "texts"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "tars/0.tar").write_bytes(b"")
    (tmp_path / "texts/a.md").write_text("a")
    with pytest.raises(UserError, match=said) as caught:
        resolve(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("there", "ours"),
    [
        (["train", "test", "val"], {"train": "train", "test": "test", "val": "val"}),
        (["train", "validation"], {"train": "train", "test": "validation"}),
        (["everything"], {"test": "everything"}),
        (["a", "b"], {"a": "a", "b": "b"}),
        ([], {}),
    ],
)
def test_splits_by_our_names(there, ours):
    assert rename(there) == ours


def test_splits_are_chosen():
    assert cut("hf:a/b#train+test") == ("hf:a/b", ("train", "test"))
    assert cut("hf:a/b") == ("hf:a/b", ())
    assert choose(["train", "val"], (), "x") == {"test": "val"}
    assert choose(["train", "val"], ("train",), "x") == {"test": "train"}
    with pytest.raises(UserError, match=r"x has no split to test on; choose of a, b: x#a"):
        choose(["a", "b"], (), "x")


def test_a_folder_of_pictures_is_described_and_shown(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLIGRAM_CACHE", str(tmp_path / "cache"))
    for name in ("red", "blue"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9), name).save(tmp_path / "pictures" / name / "1.png")
    assert main(["data", "info", "pictures"]) == 0
    assert "pictures: 2 classes, licence: the owner's" in capsys.readouterr().out
    assert main(["data", "show", "pictures", "--split", "test"]) == 0
    assert Image.open("samples.png").size[0] > 100
    assert main(["data", "info", "picture"]) == 2
    assert "did you mean pictures?" in capsys.readouterr().err
