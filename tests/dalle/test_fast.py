import logging

import pytest
import torch

from calligram.dalle.fast import FastDalle, misfit_of
from calligram.dalle.model import Dalle, DalleConfig
from calligram.dalle.sampling import SamplingConfig, sample
from calligram.dalle.sampling import prepare as preparing
from calligram.dalle.sampling.prepare import prepared, with_rounded_weights
from calligram.nn.decoder import PlainConfig
from calligram.nn.llama import LlamaConfig
from calligram.nn.native.build import library
from calligram.nn.native.cache import BlockCache

pytestmark = pytest.mark.skipif(library() is None, reason="there is no C compiler")

PRECISIONS = ("fp32", "bf16", "int8")


def drawn(number: int, vocab: int = 13) -> torch.Tensor:
    return torch.randint(0, vocab, (3, number), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_logits_are_those_of_the_model(decoder, text, precision):
    """Every decoder: a prefix, one token at a time, several at once, and what was taken back is read again."""
    pictures, twin = drawn(16), with_rounded_weights(decoder, precision)
    expected = twin(text, pictures)[1]
    fast = FastDalle(twin, precision)
    cache = fast.new_cache(3)
    found = [fast.prefill(text, cache)[:, None]]
    found += [fast.extend(pictures[:, : i + 1], cache, i) for i in range(4)]
    found.append(fast.extend(pictures[:, :11], cache, 4))
    fast.extend((pictures[:, :14] + 1) % 13, cache, 11)
    cache.truncate(decoder.text_length + 11)
    found.append(fast.extend(pictures[:, :15], cache, 11))
    # beside int8 weights activations are rounded to 16 bits
    tolerance = 1e-3 * float(expected.std()) if precision == "int8" else 1e-5
    torch.testing.assert_close(torch.cat(found, 1), expected, atol=tolerance, rtol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_has_the_same_bits_alone_and_in_a_batch(decoder, text, precision):
    """Whatever the batch, the number of threads, and how many tokens a pass reads."""
    fast, pictures = FastDalle(with_rounded_weights(decoder, precision), precision), drawn(16)

    def logits(rows: list[int], several: bool) -> torch.Tensor:
        cache = fast.new_cache(len(rows))
        parts = [fast.prefill(text[rows], cache)[:, None]]
        image = pictures[rows]
        steps = [(0, 15)] if several else [(i, i + 1) for i in range(15)]
        return torch.cat(parts + [fast.extend(image[:, :last], cache, first) for first, last in steps], 1)

    alone = logits([1], several=False)[0]
    threads = torch.get_num_threads()
    for batch in (2, 5, 7, 32):
        rows = [i % 3 for i in range(batch)]
        rows[batch // 2] = 1
        torch.set_num_threads(1 + batch % 2)
        for several in (False, True):
            assert torch.equal(logits(rows, several)[batch // 2], alone)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("weights", ["same", "bf16"])
@pytest.mark.parametrize("fields", [{}, {"guidance": 3.0}, {"decoding": "jacobi", "jacobi_window": 5}])
def test_pictures_are_those_of_the_plain_step(decoder, text, weights, fields):
    config = SamplingConfig(weights=weights, **fields)
    plain = sample(decoder, text, [0, 1, 2], config)
    fast = sample(decoder, text, [0, 1, 2], config.model_copy(update={"step": "fast"}))
    assert torch.equal(fast, plain)


@pytest.mark.parametrize("decoding", ["plain", "jacobi"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_seed_gives_the_same_picture_at_batch_1_7_and_32(decoder, text, guidance, decoding):
    config = SamplingConfig(step="fast", guidance=guidance, decoding=decoding, jacobi_window=5)
    alone = sample(decoder, text[:1], [5], config)[0]
    for batch in (7, 32):
        texts, seeds = text[torch.arange(batch) % 3], [100 + i for i in range(batch)]
        texts[batch // 2], seeds[batch // 2] = text[0], 5
        assert torch.equal(sample(decoder, texts, seeds, config)[batch // 2], alone)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu", "gelu_tanh"])
def test_every_activation(text, activation):
    torch.manual_seed(0)
    transformer = PlainConfig(width=32, num_layers=2, num_heads=2, activation=activation)
    model = Dalle(DalleConfig(text_length=6, transformer=transformer), 11, 13, 4, end_id=2).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    fast, pictures = FastDalle(model), drawn(16)
    cache = fast.new_cache(3)
    found = torch.cat([fast.prefill(text, cache)[:, None], fast.extend(pictures[:, :15], cache, 0)], 1)
    torch.testing.assert_close(found, model(text, pictures)[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("transformer", [
    PlainConfig(width=256, num_layers=1, num_heads=4, mlp_ratio=3.03125),
    LlamaConfig(width=256, num_layers=1, num_heads=4, num_kv_heads=1, mlp_ratio=3.3),
    LlamaConfig(width=512, num_layers=1, num_heads=2, num_kv_heads=2),
], ids=["64-plain", "64-grouped", "256"])  # fmt: skip
def test_other_sizes(text, transformer):
    """Numbers of rows, columns and heads that leave something over in every loop."""
    torch.manual_seed(0)
    model = Dalle(DalleConfig(text_length=6, transformer=transformer), 11, 13, 4, end_id=2).eval().requires_grad_(False)
    fast, pictures = FastDalle(model), drawn(16)
    cache = fast.new_cache(3)
    found = torch.cat([fast.prefill(text, cache)[:, None], fast.extend(pictures[:, :15], cache, 0)], 1)
    torch.testing.assert_close(found, model(text, pictures)[1], atol=1e-5, rtol=1e-5)


def test_the_model_stays_as_it_is(decoder, text):
    before = {name: x.clone() for name, x in decoder.state_dict().items()}
    sample(decoder, text, [0, 1, 2], SamplingConfig(weights="int8", step="fast"))
    assert all(torch.equal(x, before[name]) for name, x in decoder.state_dict().items())


def test_int8_weights_move_the_logits_by_little(text):
    """At a real width the rounding of 8 bits is a few thousandths of the logits' spread."""
    torch.manual_seed(0)
    config = DalleConfig(text_length=6, transformer=LlamaConfig(width=256, num_layers=4, num_heads=4))
    model = Dalle(config, 11, 512, 4, end_id=2).eval().requires_grad_(False)
    pictures = drawn(16, 512)
    exact = model(text, pictures)[1]
    for precision, most in (("bf16", 0.02), ("int8", 0.04)):
        moved = (with_rounded_weights(model, precision)(text, pictures)[1] - exact).std() / exact.std()
        assert 0 < moved < most, (precision, moved)


def test_a_model_is_prepared_once_and_anew_when_a_weight_changes(text):
    torch.manual_seed(0)
    config = DalleConfig(text_length=6, transformer=PlainConfig(width=32, num_layers=1, num_heads=2))
    model = Dalle(config, 11, 13, 4, end_id=2).eval().requires_grad_(False)
    for sampling in (SamplingConfig(step="fast"), SamplingConfig(weights="int8")):
        first = prepared(model, sampling)
        assert prepared(model, sampling) is first
        model.transformer.blocks[0].mlp_in.weight += 0.1
        assert prepared(model, sampling) is not first
    assert prepared(model, SamplingConfig()) is model


def test_what_the_fast_step_cannot_do_is_done_plainly_and_said_once(dalle, text, monkeypatch, caplog):
    preparing._last.clear()
    narrow = DalleConfig(text_length=6, transformer=PlainConfig(width=24, num_layers=1, num_heads=2))
    model = Dalle(narrow, 11, 13, 3, end_id=2).eval().requires_grad_(False)
    with caplog.at_level(logging.WARNING):
        fast = sample(model, text, [0, 1, 2], SamplingConfig(step="fast"))
        sample(model, text, [0, 1, 2], SamplingConfig(step="fast"))
    (record,) = caplog.records
    assert "head width 12 is not divisible by 8" in record.getMessage()
    assert torch.equal(fast, sample(model, text, [0, 1, 2], SamplingConfig()))
    assert "float64" in str(misfit_of(dalle.double())) and dalle.float()


def test_a_cache_is_never_written_beyond_its_end(decoder, text):
    fast = FastDalle(decoder)
    cache = fast.new_cache(3)
    fast.prefill(text, cache)
    with pytest.raises(ValueError, match="capacity"):
        fast.decoder.read(torch.zeros(3, 40, 32), cache)
    with pytest.raises(ValueError, match="cannot be cut to 7"):
        cache.truncate(7)


def test_rows_of_a_cache_share_its_memory_and_selected_ones_do_not():
    cache = BlockCache(2, 4, 16, 1, 8)
    cache.length = 3
    part, copy = cache.rows(1, 3), cache.select(torch.tensor([1, 2]))
    cache.values[:, 1, :, :3] = 7.0
    assert (part.values[:, 0, :, :3] == 7).all() and not (copy.values[:, 0, :, :3] == 7).all()
    assert part.length == copy.length == 3


@pytest.mark.parametrize("attention", ["full", "paper"])
@pytest.mark.parametrize(
    ("heads", "groups", "head_width"), [(4, 1, 64), (8, 2, 16), (5, 1, 24), (3, 3, 40), (6, 1, 8), (2, 1, 128)]
)
def test_heads_of_every_shape(heads, groups, head_width, attention):
    """Four heads at a time and one, sixteen keys and eight, blocks of channels and what is left of them."""
    torch.manual_seed(heads)
    transformer = LlamaConfig(
        width=heads * head_width, num_layers=3, num_heads=heads, num_kv_heads=groups, attention=attention
    )
    model = Dalle(DalleConfig(text_length=6, transformer=transformer), 20, 13, 6, end_id=2).eval()
    with torch.inference_mode():
        for block in model.transformer.blocks:  # a model at its start hardly looks at anything
            block.attention.query.weight.mul_(20)
        text = torch.randint(3, 20, (3, 6))
        expected = model(text, drawn(36))[1]
        fast = FastDalle(model)
        cache = fast.new_cache(3)
        found = [fast.prefill(text, cache)[:, None], fast.extend(drawn(36)[:, :20], cache, 0)]
        found += [fast.extend(drawn(36)[:, : i + 1], cache, i) for i in range(20, 35)]
    torch.testing.assert_close(torch.cat(found, 1), expected, atol=1e-5, rtol=1e-5)
