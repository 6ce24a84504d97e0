"""A split is embedded once, in order, by one process or several, whatever is missing of its samples."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from PIL import Image

from calligram.clip.classifier import Spread
from calligram.clip.zero_shot import ClipPipeline, load_clip
from calligram.data.bad import TEXT, BadSample
from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.data.sample import Sample
from calligram.data.shard import Shard
from calligram.data.source import Source
from calligram.data.writer import write_shards
from calligram.errors import UserError
from calligram.eval import features
from calligram.eval.features import embed_classed, embed_classes, embed_rows, embed_split, forget
from calligram.eval.pictures import read_picture


@pytest.fixture(scope="module")
def clip(tiny_runs) -> ClipPipeline:
    return load_clip(tiny_runs.clip)


@pytest.fixture(autouse=True)
def _afresh():
    forget()


@pytest.fixture
def count(clip, monkeypatch) -> list[int]:
    """How many pictures went through the model at a time."""
    numbers, embed = [], ClipPipeline.embed_prepared
    monkeypatch.setattr(ClipPipeline, "embed_prepared", lambda self, x: (numbers.append(len(x)), embed(self, x))[1])
    return numbers


def test_each_picture_is_embedded_once(clip, tiny_runs, count):
    some = embed_split(clip, tiny_runs.shards, "test", 4)
    assert sum(count) == len(some) == 4
    more = embed_split(clip, tiny_runs.shards, "test", 100)
    assert sum(count) == len(more) == 9
    again = embed_rows(clip, tiny_runs.shards, "test", [8, 0, 8])
    _, classes = embed_classed(clip, tiny_runs.shards, "test", 100)
    assert sum(count) == 9 and len(classes) == 3
    assert torch.equal(again.image_BE, more.image_BE[[8, 0, 8]]) and again.captions[0] == more.captions[8]
    forget()
    embed_split(clip, tiny_runs.shards, "test", 1)
    assert sum(count) == 10


def test_vectors_are_those_of_the_pictures(clip, tiny_runs):
    shards = Shards(tiny_runs.shards, "test")
    found = embed_split(clip, tiny_runs.shards, "test", 9)
    by_hand = clip.embed_prepared([read_picture(shards[i], clip) for i in range(9)])
    torch.testing.assert_close(found.image_BE, by_hand, atol=1e-6, rtol=1e-5)
    assert found.captions == tuple(shards[i].captions for i in range(9))
    image_BE, class_B = embed_classed(clip, tiny_runs.shards, "test", 2)
    rows = [i for i in range(9) if "class" in shards[i].meta][:2]
    torch.testing.assert_close(image_BE, by_hand[rows], atol=1e-6, rtol=1e-5)
    assert class_B.tolist() == [shards[i].meta["class"] for i in rows]


def test_two_processes_share_the_pictures(tiny_runs, count):
    """Two threads stand for two processes: each with a pipeline of its own, meeting in ``gather``."""
    barrier, rows = Barrier(2), {}

    def spread(rank):
        def gather(x):
            barrier.wait(60)
            rows[rank] = x
            barrier.wait(60)
            return torch.cat([rows[0], rows[1]])

        return Spread(rank, 2, gather)

    clips = [load_clip(tiny_runs.clip) for _ in range(2)]
    alone = embed_split(clips[0], tiny_runs.shards, "test", 9)
    forget()
    del count[:]
    for rank, each in enumerate(clips):
        each.spread = spread(rank)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda each: embed_split(each, tiny_runs.shards, "test", 9), clips))
    assert sorted(count) == [5, 5]
    for each in found:
        torch.testing.assert_close(each.image_BE, alone.image_BE, atol=1e-6, rtol=1e-5)
        assert each.captions == alone.captions


class Bare(Source):
    """Pictures of which one has a caption, one a class and one nothing."""

    name = "bare"
    licence = "CC0-1.0"

    def splits(self):
        return {"test": 3}

    def class_names(self):
        return ["circle", "square"]

    def templates(self):
        return ["a {}"]

    def sample(self, split, index):
        captions = (("words",), ("a square",), ("nothing",))[index]
        return Sample(
            str(index), Image.new("RGB", (16, 16), (90 * index, 0, 0)), captions, {"class": 1} if index == 1 else {}
        )


@pytest.fixture
def bare(tmp_path):
    write_shards(Bare(), tmp_path / "bare")
    return tmp_path / "bare"


def without_words(folder, monkeypatch, rows, meta):
    """As shards of others are, that have a picture and a number at most."""
    read = Shard.read_words
    monkeypatch.setattr(Shard, "read_words", lambda self, row: ((), meta) if row in rows else read(self, row))


def test_a_picture_without_words_has_no_captions(clip, bare, monkeypatch):
    without_words(bare, monkeypatch, [2], {})
    found = embed_split(clip, bare, "test", 3)
    assert found.captions == (("words",), ("a square",), ()) and found.image_BE.shape[0] == 3
    assert embed_classed(clip, bare, "test", 3)[1].tolist() == [1]


def test_a_class_alone_is_captioned_by_the_templates(clip, bare, monkeypatch):
    without_words(bare, monkeypatch, [0, 2], {"class": 0})
    assert embed_split(clip, bare, "test", 3).captions[0] == ("a circle",)
    assert embed_classed(clip, bare, "test", 3)[1].tolist() == [0, 1, 0]


def test_a_class_without_a_name_is_told(clip, bare, monkeypatch):
    without_words(bare, monkeypatch, [2], {"class": 7})
    with pytest.raises(UserError, match=r"has class 7, the manifest of .* names 2"):
        embed_classed(clip, bare, "test", 3)


def test_damage_is_told(clip, bare, monkeypatch):
    def damaged(self, row):
        raise BadSample(TEXT, f"sample {row} has unreadable text")

    monkeypatch.setattr(Shard, "read_words", damaged)
    with pytest.raises(BadSample, match="sample 0 has unreadable text"):
        embed_split(clip, bare, "test", 3)


def test_embeddings_that_are_no_numbers_are_told(clip, tiny_runs, monkeypatch):
    monkeypatch.setattr(ClipPipeline, "embed_prepared", lambda self, x: torch.full((len(x), 8), torch.nan))
    with pytest.raises(UserError, match="not finite"):
        embed_split(clip, tiny_runs.shards, "test", 3)


def test_names_of_classes_are_read_once(clip, tiny_runs, monkeypatch):
    manifest = Manifest.load(tiny_runs.shards)
    first = embed_classes(clip, manifest)
    torch.testing.assert_close(first, clip.embed_labels(manifest.class_names, manifest.templates))
    monkeypatch.setattr(ClipPipeline, "embed_labels", None)
    assert embed_classes(clip, manifest) is first


def test_what_a_model_made_goes_with_it(tiny_runs):
    import gc

    clip = load_clip(tiny_runs.clip)
    embed_split(clip, tiny_runs.shards, "test", 2)
    assert len(features._KEPT) == 1
    del clip
    gc.collect()
    assert len(features._KEPT) == 0
