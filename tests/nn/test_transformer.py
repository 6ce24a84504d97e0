import pytest
import torch
from pydantic import ValidationError

from calligram.nn.mask import FULL, Mask, one_query_each
from calligram.nn.transformer import Read, Transformer, TransformerConfig

CONFIG = TransformerConfig(width=32, num_layers=3, num_heads=4)


def tokens(length=9, batch=2) -> torch.Tensor:
    return torch.randn(batch, length, CONFIG.width, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def causal() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(CONFIG, causal=True).eval()
    for parameter in model.parameters():  # biases and gains start as constants, which would hide a mistake in them
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("chunks", [(9,), (1,) * 9, (4, 1, 1, 3), (3, 6)])
@torch.no_grad()
def test_with_the_cache_as_without(causal, chunks):
    x = tokens()
    cache = causal.new_cache(batch=2, capacity=9)
    parts = [causal(part, cache) for part in x.split(chunks, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), causal(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_causal_transformer_does_not_look_ahead_and_another_does(causal):
    x = tokens()
    changed = x.clone()
    changed[:, 5:] *= -1  # a constant added would vanish in the LayerNorm
    torch.testing.assert_close(causal(x)[:, :5], causal(changed)[:, :5], atol=1e-6, rtol=1e-5)
    both_ways = Transformer(CONFIG).eval()
    assert (both_ways(x) - both_ways(changed))[:, :5].abs().amax(-1).min() > 1e-4


@torch.no_grad()
def test_new_caches_have_the_models_dtype():
    model = Transformer(CONFIG, causal=True).bfloat16()
    cache = model.new_cache(2, 9)
    assert cache.keys_LBNHK.dtype == cache.values_LBNHK.dtype == torch.bfloat16
    assert model(tokens().bfloat16(), cache).dtype == torch.bfloat16


@pytest.mark.parametrize("is_causal", [True, False])
@torch.no_grad()
def test_packed_sequences_are_what_each_is_alone(causal, is_causal):
    x = tokens(length=9, batch=1)
    packed = causal(x, mask=Mask(is_causal, seqlens=(2, 4, 3)))
    alone = [causal(part, mask=Mask(is_causal)) for part in x.split([2, 4, 3], 1)]
    torch.testing.assert_close(packed, torch.cat(alone, 1), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_cache_refuses_packed_sequences_unless_they_are_all_there_is(causal):
    cache = causal.new_cache(batch=1, capacity=9)
    causal(tokens(4, 1), cache)
    with pytest.raises(ValueError, match="2 sequences of 5 tokens are packed"):
        causal(tokens(5, 1), cache, Mask(True, seqlens=(2, 3)))


def test_the_stream_keeps_its_size_with_depth():
    torch.manual_seed(0)
    deep = Transformer(TransformerConfig(width=64, num_layers=24, num_heads=4))
    x = torch.randn(2, 16, 64)
    for block in deep.blocks:
        x = block(x)
    assert 0.8 < x.std() < 1.3


def test_dropout_is_off_in_evaluation():
    model = Transformer(TransformerConfig(width=32, num_layers=1, num_heads=4, dropout=0.5))
    x = tokens()
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 100, "num_heads": 12}, "width 100 is not divisible by num_heads 12"),
        ({"dropout": 1.0}, "less than 1"),
        ({"num_layers": 0}, "greater than or equal to 1"),
        ({"depth": 3}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_config_is_refused_with_the_reason(fields, message):
    with pytest.raises(ValidationError, match=message):
        TransformerConfig(**fields)


@pytest.mark.parametrize("packed", [False, True])
def test_tokens_that_alone_are_read_are_those_of_the_whole(packed):
    """And so are the gradients: no other token needs the last block's answer, projection or MLP."""
    torch.manual_seed(0)
    config = TransformerConfig(width=16, num_layers=3, num_heads=2)
    model = Transformer(config, causal=packed).double().eval()
    seqlens = (2, 2, 5)
    x_BTD = torch.randn(1 if packed else 3, 9, 16, dtype=torch.double)
    index_R = torch.tensor([1, 3, 8] if packed else [0])
    read = Read(index_R, one_query_each(seqlens) if packed else FULL)
    found = []
    for arguments in ({"read": read}, {}):
        mask = Mask(causal=True, seqlens=seqlens) if packed else None
        out = model(x_BTD, mask=mask, **arguments)
        out = out if arguments else out[:, index_R]
        found.append([out, *torch.autograd.grad(out.square().sum(), list(model.parameters()))])
    torch.testing.assert_close(found[0], found[1], atol=1e-12, rtol=1e-12)
