import shutil

import numpy as np
import pytest
import torch

from calligram.data.bad import BadSample
from calligram.data.dataset import Shards
from calligram.data.tokens import BAD, Tokens, side_car, write_tokens
from calligram.errors import UserError
from calligram.pictures import square, to_tensor


@pytest.fixture
def shards(folder, tmp_path) -> Shards:
    """A copy, since tokens are written beside the shards."""
    return Shards(shutil.copytree(folder, tmp_path / "copy"), "train")


def read_tokens(shards: Shards, key: str) -> np.ndarray:
    tokens = Tokens(shards, key)
    return np.concatenate([tokens.rows(number) for number in range(len(shards.paths))])


def encode(images: torch.Tensor) -> torch.Tensor:
    """Stands in for a tokenizer: the mean of each quarter, times 256 so that two bytes are needed."""
    return torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1), 2).flatten(1).long() * 256


def test_tokens_lie_row_by_row_with_the_samples(shards):
    write_tokens(shards, "abc", 16, encode)
    tokens = read_tokens(shards, "abc")
    assert tokens.shape == (23, 4) and tokens.dtype == np.uint16
    by_hand = encode(torch.stack([to_tensor(square(shards[i].image(), 16)) for i in range(23)]))
    assert np.array_equal(tokens, by_hand.numpy())
    assert tokens.max() > 255 * 200


def test_many_pictures_are_encoded_a_few_at_a_time(shards, monkeypatch):
    write_tokens(shards, "whole", 16, encode)
    monkeypatch.setattr("calligram.data.tokens.PICTURES_AT_A_TIME", 3)
    write_tokens(shards, "parts", 16, encode)
    assert np.array_equal(read_tokens(shards, "parts"), read_tokens(shards, "whole"))


def test_only_what_is_missing_is_encoded(shards):
    write_tokens(shards, "abc", 16, encode)
    before = read_tokens(shards, "abc")
    side_car(shards, 1, "abc").unlink()
    counts = []
    write_tokens(shards, "abc", 16, lambda images: counts.append(len(images)) or encode(images))
    assert counts == [10]
    assert np.array_equal(read_tokens(shards, "abc"), before)


def test_an_interrupted_shard_leaves_no_file(shards):
    def break_down(images):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tokens(shards, "abc", 16, break_down)
    assert list(shards.paths[0].parent.glob("*.npy")) == []


def test_tokens_of_another_tokenizer_are_not_taken(shards):
    write_tokens(shards, "abc", 16, encode)
    with pytest.raises(UserError, match=r"000000\.tar has no tokens of this tokenizer: run `calligram tokenize"):
        read_tokens(shards, "abd")


def test_tokens_that_do_not_fit_the_shard_are_refused(shards):
    write_tokens(shards, "abc", 16, encode)
    file = side_car(shards, 2, "abc")
    np.save(file, np.zeros((2, 4), np.uint16))
    with pytest.raises(UserError, match="has 2 rows for 3 samples: delete it, and tokenize again"):
        read_tokens(shards, "abc")
    file.write_bytes(b"no tokens")
    with pytest.raises(UserError, match="cannot be read: delete it"):
        read_tokens(shards, "abc")


def test_tokens_beyond_two_bytes_are_refused_rather_than_wrapped(shards):
    with pytest.raises(UserError, match="image token 65535 does not fit"):
        write_tokens(shards, "abc", 16, lambda images: torch.full((len(images), 4), 65535))
    write_tokens(shards, "abc", 16, lambda images: torch.full((len(images), 4), 65534))
    assert read_tokens(shards, "abc").min() == 65534


def test_processes_share_the_shards(shards):
    write_tokens(shards, "whole", 16, encode)
    for rank in (1, 0):
        write_tokens(shards, "parts", 16, encode, rank, world_size=2)
        assert side_car(shards, 1, "parts").is_file()
        assert side_car(shards, 2, "parts").is_file() == (rank == 0)
    assert np.array_equal(read_tokens(shards, "parts"), read_tokens(shards, "whole"))


def test_tokens_of_a_shard_that_has_changed_are_not_taken(shards):
    write_tokens(shards, "abc", 16, encode)
    manifest = shards.manifest
    entry = manifest.splits["train"][1].model_copy(update={"sha256": "0" * 64})
    changed = {**manifest.splits, "train": [manifest.splits["train"][0], entry]}
    manifest.model_copy(update={"splits": changed}).save(shards.folder)
    with pytest.raises(UserError, match=r"000001\.tar has no tokens of this tokenizer"):
        Tokens(Shards(shards.folder, "train"), "abc")


def test_a_picture_that_cannot_be_decoded_has_no_tokens_and_moves_none(shards, caplog):
    write_tokens(shards, "whole", 16, encode)
    member = shards.shard(1).index[4].members["png"]
    with shards.paths[1].open("r+b") as file:
        file.seek(member.offset + 50)
        file.write(b"damage")
    write_tokens(shards, "holed", 16, encode)
    assert "no tokens: " in caplog.text and "train-0000014" in caplog.text
    whole, holed = read_tokens(shards, "whole"), read_tokens(shards, "holed")
    assert (holed[14] == BAD).all()
    assert np.array_equal(np.delete(holed, 14, 0), np.delete(whole, 14, 0))
    with pytest.raises(BadSample, match=r"sample train-0000014 .* has no tokens"):
        Tokens(shards, "holed").read(1, 4)
