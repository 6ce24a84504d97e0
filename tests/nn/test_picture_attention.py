"""Sparse attention in blocks and over a cache, against the definition written out token by token."""

import random

import pytest
import torch
import torch.nn.functional as F

from calligram.nn import picture_attention
from calligram.nn.attention import attention
from calligram.nn.picture_mask import PictureMask, kinds_of_layers

KINDS = ("full", "row", "column", "convolution")


@pytest.fixture(params=["in blocks", "written out"])
def way(request, monkeypatch):
    """Both ways to compute all tokens at once, which of the two is quicker on the machine notwithstanding."""
    monkeypatch.setattr(
        picture_attention, "_blocks_pay", lambda mask, *_: mask.kind != "full" and request.param == "in blocks"
    )


def sees(kind: str, query: int, key: int, num_text: int, grid: int, kernel: int) -> bool:
    """Figure 11 of the paper, for one query and one key of a sequence of text and picture."""
    if key > query:
        return False
    if key < num_text or kind == "full":
        return True
    q, k = query - num_text, key - num_text
    if kind == "row":
        return q - k <= grid
    if kind == "column":
        return q % grid == k % grid
    half = kernel // 2
    return any(q - k == rows * grid + columns for rows in range(half + 1) for columns in range(-half, half + 1))


def by_definition(q, k, v, mask: PictureMask):
    """Slow and plain: each query over the keys that it sees, no mask and no blocks."""
    q, k, v = (x.double() for x in (q, k, v))
    num_queries, num_keys, share = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
    out = torch.zeros_like(q)
    for row in range(len(q)):
        skip = 0 if mask.skip_B is None else int(mask.skip_B[row])
        for place in range(num_queries):
            query = num_keys - num_queries + place
            if query < skip:
                continue  # an empty place: nobody reads what comes out there
            keys = [
                j for j in range(skip, num_keys) if sees(mask.kind, query, j, mask.num_text, mask.grid, mask.kernel)
            ]
            for head in range(q.shape[2]):
                group = head // share
                weights = (k[row, keys, group] @ q[row, place, head] / q.shape[3] ** 0.5).softmax(0)
                out[row, place, head] = weights @ v[row, keys, group]
    return out


def random_case(seed: int, dtype=torch.float32):
    """Queries, keys, values and a mask of random sizes; the queries are all tokens, or the last ones."""
    draw = random.Random(seed)
    grid, num_text, batch = draw.randint(1, 5), draw.randint(1, 7), draw.randint(1, 3)
    groups, share = draw.choice([1, 2]), draw.choice([1, 2, 3])
    num_keys = num_text + draw.randint(0, grid * grid)
    num_queries = draw.choice([num_keys, num_keys, 1, draw.randint(1, num_keys)])
    generator = torch.Generator().manual_seed(seed)
    shapes = (num_queries, groups * share), (num_keys, groups), (num_keys, groups)
    q, k, v = (torch.randn(batch, n, h, 4, generator=generator, dtype=dtype) for n, h in shapes)
    skip = torch.randint(0, num_text, (batch,), generator=generator) if draw.random() < 0.4 else None
    kind = draw.choice(KINDS)
    return q, k, v, PictureMask((kind,), num_text, grid, draw.choice([1, 3, 5]), skip, kind=kind)


def real(x, mask: PictureMask, num_keys: int):
    """Zeros where a query stands in an empty place."""
    if mask.skip_B is None:
        return x
    place_M = torch.arange(num_keys - x.shape[1], num_keys)
    return x * (place_M >= mask.skip_B[:, None])[..., None, None]


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_as_the_definition_says(way, start):
    for seed in range(start, start + 100):
        q, k, v, mask = random_case(seed)
        found = real(attention(q, k, v, mask), mask, k.shape[1])
        torch.testing.assert_close(found.double(), by_definition(q, k, v, mask), atol=1e-5, rtol=1e-5, msg=str(seed))


def test_as_the_definition_says_in_double_precision(way):
    for seed in range(400, 500):
        q, k, v, mask = random_case(seed, torch.float64)
        found = real(attention(q, k, v, mask), mask, k.shape[1])
        torch.testing.assert_close(found, by_definition(q, k, v, mask), atol=1e-12, rtol=1e-12, msg=str(seed))


@pytest.mark.parametrize("kind", ["row", "column", "convolution"])
def test_gradients_as_with_the_mask_written_out(way, kind):
    torch.manual_seed(0)
    mask = PictureMask((kind,), 5, 4, 3, kind=kind)
    q, k, v = (torch.randn(2, 20, heads, 8, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2))
    weights = torch.randn(2, 20, 4, 8, dtype=torch.float64)
    fast = torch.autograd.grad((attention(q, k, v, mask) * weights).sum(), (q, k, v))
    turned = (x.transpose(1, 2) for x in (q, k, v))
    slow = F.scaled_dot_product_attention(*turned, attn_mask=mask.matrix(20, 20), enable_gqa=True).transpose(1, 2)
    for ours, theirs in zip(fast, torch.autograd.grad((slow * weights).sum(), (q, k, v)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_are_what_each_is_alone(way, kind):
    torch.manual_seed(0)
    lengths, num_image = (2, 3, 3, 6), 11
    q, k, v = (torch.randn(1, sum(lengths) + 4 * num_image, heads, 8) for heads in (4, 2, 2))
    mask = PictureMask((kind,), 6, 4, 3, lengths=lengths, num_image=num_image).of_layer(0)
    packed = attention(q, k, v, mask)
    sizes = [length + num_image for length in lengths]
    for length, out, *qkv in zip(lengths, *(x.split(sizes, 1) for x in (packed, q, k, v)), strict=True):
        alone = by_definition(*qkv, PictureMask((kind,), length, 4, 3, kind=kind))
        torch.testing.assert_close(out.double(), alone, atol=1e-5, rtol=1e-5)


def test_a_step_reads_only_the_keys_that_are_seen():
    """All others are no numbers, and would make one of everything that reads them, seen or not."""
    torch.manual_seed(0)
    for kind in ("row", "column", "convolution"):
        mask = PictureMask((kind,), 3, 5, 3, kind=kind)
        for position in range(25):
            num_keys = 3 + position + 1
            q, k, v = torch.randn(1, 1, 2, 4), torch.randn(1, num_keys, 2, 4), torch.randn(1, num_keys, 2, 4)
            unseen = ~mask.matrix(1, num_keys)[0]
            k[:, unseen] = v[:, unseen] = float("nan")
            assert attention(q, k, v, mask).isfinite().all()


def test_the_papers_order_of_layers():
    """Appendix B.1: layers 2, 6, 10 … of the first 63 are columns, the 64th alone is a convolution."""
    kinds = kinds_of_layers("paper", 64)
    assert [i for i, kind in enumerate(kinds, start=1) if kind == "column"] == list(range(2, 64, 4))
    assert [i for i, kind in enumerate(kinds, start=1) if kind == "convolution"] == [64]
    assert kinds[:4] == ("row", "column", "row", "row")
    assert kinds_of_layers("paper", 1) == ("convolution",)
    assert kinds_of_layers("column", 2) == ("column", "column")


def test_the_papers_figure_11():
    """Four by four image tokens behind six of text: what (a), (b) and (d) show for the last token but five."""
    last = {"row": [6, 7, 8, 9, 10], "column": [2, 6, 10], "convolution": [5, 6, 7, 9, 10]}
    for kind, expected in last.items():
        matrix = PictureMask((kind,), 6, 4, 3, kind=kind).matrix(22, 22)
        assert matrix[6 + 10, :6].all()
        assert matrix[6 + 10, 6:].nonzero().flatten().tolist() == expected
        assert torch.equal(matrix[:6, :6], torch.ones(6, 6, dtype=torch.bool).tril()) and not matrix[:6, 6:].any()


def test_more_queries_than_keys_are_refused():
    q, k = torch.randn(1, 3, 1, 4), torch.randn(1, 2, 1, 4)
    with pytest.raises(ValueError, match="3 causal queries over 2 keys"):
        attention(q, k, k, PictureMask(("row",), 1, 2, 3, kind="row"))


def test_blocks_are_for_large_pictures():
    def pays(kind: str, grid: int, num_text: int) -> bool:
        mask = PictureMask((kind,), num_text, grid, 11, kind=kind)
        return picture_attention._blocks_pay(mask, grid * grid - 1, torch.device("cpu"))

    assert not any(pays(kind, 8, 16) for kind in KINDS)
    assert [kind for kind in KINDS if pays(kind, 16, 32)] == ["row", "column"]
    assert [kind for kind in KINDS if pays(kind, 32, 256)] == ["row", "column", "convolution"]
