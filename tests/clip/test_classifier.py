"""Label vectors: the same as one prompt at a time, whatever the batches, the processes and the cache."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from calligram.clip import classifier
from calligram.clip.classifier import (
    Spread,
    batches_by_length,
    cache_path,
    embed_by_length,
    embed_spread,
    label_vectors,
    text_lengths,
)
from calligram.clip.fingerprint import BLOCK, model_fingerprint, text_fingerprint
from calligram.clip.model import Clip, ClipConfig
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.errors import UserError
from calligram.nn.transformer import TransformerConfig
from calligram.tokenizers.text import TextTokenizer

SMALL = TransformerConfig(width=16, num_layers=2, num_heads=2)
CONFIG = ClipConfig(
    image_size=8,
    embed_dim=12,
    image=ViTConfig(patch=4, transformer=SMALL),
    text=TextTowerConfig(context_length=40, transformer=SMALL),
)
PROMPTS = [
    ["a red square", "red"],
    ["green"],
    ["a blue ring, and a ring, and a ring", "a blue ring", "blue", "red", "red"],
    ["a ring"],
]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train(["a red square", "a green circle", "a blue ring"], context_length=40)


@pytest.fixture
def model(tokenizer) -> Clip:
    torch.manual_seed(0)
    model = Clip(CONFIG, tokenizer.vocab_size, tokenizer.end_id).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def one_by_one(model, tokenizer, prompts=PROMPTS) -> torch.Tensor:
    """The slow twin: every prompt alone, equal ones again."""
    with torch.inference_mode():
        means = [torch.stack([model.encode_text(tokenizer(p))[0] for p in each]).mean(0) for each in prompts]
    return F.normalize(torch.stack(means), dim=-1)


def test_label_vectors_are_the_renormalised_means_of_single_prompts(model, tokenizer):
    expected = one_by_one(model, tokenizer)
    torch.testing.assert_close(label_vectors(model, tokenizer, PROMPTS), expected)
    assert (expected[0] - expected[2]).norm() > 0.1, "labels that all look alike would test nothing"


def test_equal_prompts_are_read_once_and_no_batch_is_padded_much(model, tokenizer, monkeypatch):
    read = []
    encode = model.encode_text
    monkeypatch.setattr(
        model, "encode_text", lambda ids: read.append(text_lengths(ids, tokenizer.end_id)) or encode(ids)
    )
    monkeypatch.setitem(classifier.TOKENS_AT_ONCE, "cpu", 24)
    prompts = [[f"{'a ' * (i % 7)}ring" for i in range(n)] for n in (30, 30)]
    label_vectors(model, tokenizer, prompts)
    lengths = torch.cat(read)
    assert len(lengths) == 7
    assert all(len(batch) * int(batch.max()) <= 24 for batch in read)
    assert sorted(lengths.tolist()) == lengths.tolist()


@pytest.mark.parametrize("budget", [1, 7, 20, 1000])
def test_batches_hold_every_text_once_within_the_budget(budget):
    lengths = torch.randint(3, 20, (57,), generator=torch.Generator().manual_seed(budget))
    batches = list(batches_by_length(lengths, budget))
    assert sorted(torch.cat(batches).tolist()) == list(range(57))
    assert all(len(rows) == 1 or len(rows) * int(lengths[rows].max()) <= budget for rows in batches)
    assert list(batches_by_length(lengths[:0], budget)) == []


def test_texts_keep_their_order_in_parts(model, tokenizer, monkeypatch):
    texts = [f"{'ring ' * (1 + i * 5 % 6)}" for i in range(23)]
    expected = torch.cat([one_by_one(model, tokenizer, [[text]]) for text in texts])
    monkeypatch.setattr(classifier, "TEXTS_AT_ONCE", 5)
    torch.testing.assert_close(embed_by_length(model, tokenizer, texts), expected)
    torch.testing.assert_close(embed_spread(model, tokenizer, texts), expected)
    assert embed_by_length(model, tokenizer, []).shape == (0, 12)


class Together:
    """Processes as threads: ``gather`` waits for all and joins their rows in the order of the ranks."""

    def __init__(self, size: int):
        self.size, self.barrier, self.rows = size, threading.Barrier(size, timeout=60), [None] * size

    def spread(self, rank: int) -> Spread:
        def gather(x):
            self.rows[rank] = x
            self.barrier.wait()
            assert len({len(rows) for rows in self.rows}) == 1, "a collective needs the same number in each"
            joined = torch.cat(self.rows)
            self.barrier.wait()
            return joined

        return Spread(rank, self.size, gather)

    def run(self, action):
        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(lambda rank: action(self.spread(rank)), range(self.size)))


@pytest.mark.parametrize("size", [2, 3, 20])
def test_processes_share_the_work_and_agree(model, tokenizer, size):
    found = Together(size).run(lambda spread: label_vectors(model, tokenizer, PROMPTS, spread=spread))
    for each in found:
        torch.testing.assert_close(each, one_by_one(model, tokenizer))


def test_a_cache_that_only_one_process_sees_is_no_deadlock(model, tokenizer, tmp_path):
    label_vectors(model, tokenizer, PROMPTS, tmp_path / "0")
    found = Together(2).run(lambda s: label_vectors(model, tokenizer, PROMPTS, tmp_path / str(s.rank), s))
    for each in found:
        torch.testing.assert_close(each, one_by_one(model, tokenizer))


def test_a_text_too_long_is_told_in_all_processes(model, tokenizer):
    def refused(spread):
        with pytest.raises(UserError, match="more than the 40 that fit"):
            label_vectors(model, tokenizer, [["red"], ["red " * 39], ["blue"]], spread=spread)
        return True

    assert all(Together(2).run(refused))


def test_the_second_time_comes_from_the_cache(model, tokenizer, tmp_path, monkeypatch):
    first = label_vectors(model, tokenizer, PROMPTS, tmp_path)
    monkeypatch.setattr(model, "encode_text", lambda ids: pytest.fail("read again"))
    torch.testing.assert_close(label_vectors(model, tokenizer, PROMPTS, tmp_path), first, rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == [cache_path(model, tokenizer, PROMPTS, tmp_path).name]


@pytest.mark.parametrize("damage", ["cut", "text", "foreign", "shape", "empty"])
def test_a_damaged_or_foreign_file_is_made_anew(model, tokenizer, tmp_path, caplog, damage):
    first = label_vectors(model, tokenizer, PROMPTS, tmp_path)
    path = cache_path(model, tokenizer, PROMPTS, tmp_path)
    whole = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(whole[:-5])
        case "text":
            path.write_text("hello")
        case "foreign":
            save_file({"labels": torch.zeros_like(first)}, path)
        case "shape":
            save_file({"labels": first[1:].contiguous()}, path, {"kind": classifier.KIND})
        case "empty":
            path.write_bytes(b"")
    torch.testing.assert_close(label_vectors(model, tokenizer, PROMPTS, tmp_path), first)
    assert f"{path} is damaged or another program's: made anew" in caplog.text
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_told_and_does_no_harm(model, tokenizer, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    found = label_vectors(model, tokenizer, PROMPTS, tmp_path / "file" / "cache")
    torch.testing.assert_close(found, one_by_one(model, tokenizer))
    assert "cannot be kept" in caplog.text


def test_what_the_vectors_depend_on_is_in_the_name(model, tokenizer, tmp_path):
    def name(prompts=PROMPTS, tokens=tokenizer):
        return cache_path(model, tokens, prompts, tmp_path).name

    other = TextTokenizer.train(["a red square", "a dog", "a cat"], context_length=40)
    names = {
        name(),
        name([*PROMPTS, ["x"]]),
        name([["a red square"], ["red", "green"], *PROMPTS[2:]]),
        name(tokens=other),
    }
    assert len(names) == 4
    model.visual.positions.data += 1
    assert name() in names, "pictures are read by other weights"
    model.text_projection.weight.data[0, 0] += 1e-6
    assert name() not in names


def test_fingerprints_see_the_smallest_change_anywhere():
    torch.manual_seed(0)
    tokenizer = TextTokenizer.train(["a red square"], context_length=40)
    wide = TransformerConfig(width=64, num_layers=1, num_heads=2)
    config = CONFIG.model_copy(update={"text": TextTowerConfig(context_length=40, transformer=wide)})
    model = Clip(config, tokenizer.vocab_size, tokenizer.end_id)
    weight = model.text.embed.weight
    assert weight.numel() * 4 > 8 * BLOCK, "one whole block and a rest"
    flat, seen = weight.data.view(-1), {text_fingerprint(model, tokenizer)}
    for i in (0, 1, 2 * BLOCK - 1, 2 * BLOCK, flat.numel() - 1):
        flat.view(torch.int32)[i] ^= 1
        seen.add(text_fingerprint(model, tokenizer))
    flat[[0, 2]] = flat[[2, 0]]
    seen.add(text_fingerprint(model, tokenizer))
    assert len(seen) == 7
    whole = model_fingerprint(model, tokenizer)
    model.visual.positions.data[0, 0] += 1e-6
    assert model_fingerprint(model, tokenizer) != whole
    assert text_fingerprint(model, tokenizer) in seen
