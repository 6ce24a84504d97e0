import pytest
import torch

from calligram.nn.cache import KVCache


def filled(batch=2, capacity=6, tokens=3) -> KVCache:
    cache = KVCache(num_layers=2, batch=batch, capacity=capacity, num_heads=2, head_width=4)
    for layer in range(2):
        cache.append(layer, torch.randn(batch, tokens, 2, 4), torch.randn(batch, tokens, 2, 4))
    cache.advance(tokens)
    return cache


def test_append_returns_all_keys_and_values_of_that_layer_so_far():
    cache = KVCache(num_layers=2, batch=1, capacity=4, num_heads=1, head_width=2)
    k, v = torch.randn(2, 1, 4, 1, 2), torch.randn(2, 1, 4, 1, 2)
    for start, end in [(0, 3), (3, 4)]:
        for layer in range(2):
            keys, values = cache.append(layer, k[layer, :, start:end], v[layer, :, start:end])
            assert torch.equal(keys, k[layer, :, :end])
            assert torch.equal(values, v[layer, :, :end])
        cache.advance(end - start)
    assert cache.length == 4


def test_what_append_returns_is_a_view_and_the_input_is_copied():
    cache = filled()
    new = torch.randn(2, 1, 2, 4)
    keys, _ = cache.append(0, new, new)
    kept = keys.clone()
    new.zero_()
    assert torch.equal(keys, kept)
    assert keys.data_ptr() == cache.keys_LBNHK.data_ptr()


def test_select_repeats_and_reorders_rows_without_aliasing():
    cache = filled(batch=3)
    keys, values = cache.keys_LBNHK[:, :, :3].clone(), cache.values_LBNHK[:, :, :3].clone()
    rows = torch.tensor([2, 0, 2, 2])
    chosen = cache.select(rows)
    assert chosen.length == 3
    assert torch.equal(chosen.keys_LBNHK[:, :, :3], keys[:, rows])
    assert torch.equal(chosen.values_LBNHK[:, :, :3], values[:, rows])
    chosen.append(0, torch.ones(4, 2, 2, 4), torch.ones(4, 2, 2, 4))
    chosen.keys_LBNHK[1, 0] = 7
    assert torch.equal(cache.keys_LBNHK[:, :, :3], keys)
    assert torch.equal(chosen.keys_LBNHK[1, 2, :3], keys[1, 2]), "equal rows must not share memory"


def test_a_full_cache_refuses_even_one_token():
    cache = filled(capacity=3)
    one = torch.zeros(2, 1, 2, 4)
    with pytest.raises(ValueError, match="4 tokens are more than the cache's capacity of 3"):
        cache.append(0, one, one)


def test_tokens_are_taken_back_and_written_again():
    cache = filled(capacity=5, tokens=4)
    kept = cache.keys_LBNHK[0, :, :2].clone()
    cache.truncate(2)
    one = torch.ones(2, 1, 2, 4)
    keys, _ = cache.append(0, one, one)
    assert torch.equal(keys[:, :2], kept) and torch.equal(keys[:, 2:], one)
    for length in (-1, 3):
        with pytest.raises(ValueError, match=f"a cache of 2 tokens cannot be cut to {length}"):
            cache.truncate(length)


def test_rows_keep_their_empty_places():
    cache = filled(batch=3)
    cache.skip_B = torch.tensor([0, 2, 1])
    assert cache.select(torch.tensor([1, 1, 0])).skip_B.tolist() == [2, 2, 0]
