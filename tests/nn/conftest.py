"""The formula of attention, written out, which every fast way is held against."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from calligram.nn.mask import Mask


def formula(q_BMHK: Tensor, k_BNGK: Tensor, v_BNGK: Tensor, mask: Mask) -> Tensor:
    """softmax(q·kᵀ / √K) v over what a query sees, told by two loops."""
    num_queries, num_keys = q_BMHK.shape[1], k_BNGK.shape[1]
    number_M, number_N = (
        [i for i, n in enumerate(x) for _ in range(n)] for x in (mask.lengths if mask.seqlens else ((), ()))
    )
    sees_MN = torch.zeros(num_queries, num_keys, dtype=torch.bool)
    for m in range(num_queries):
        for n in range(num_keys):
            ahead = n - num_keys > m - num_queries
            strange = bool(number_N) and number_M[m] != number_N[n]
            sees_MN[m, n] = not (mask.causal and ahead) and not strange
    shared = q_BMHK.shape[2] // k_BNGK.shape[2]
    k, v = (x.repeat_interleave(shared, dim=2) for x in (k_BNGK, v_BNGK))
    scores = torch.einsum("bmhk,bnhk->bhmn", q_BMHK, k) / q_BMHK.shape[-1] ** 0.5
    return torch.einsum("bhmn,bnhk->bmhk", scores.masked_fill(~sees_MN, -torch.inf).softmax(-1), v)


def random_qkv(mask: Mask, num_queries: int, num_keys: int, groups: int, head_width: int = 8) -> list[Tensor]:
    g = torch.Generator().manual_seed(num_queries * 100 + num_keys)
    batch = 1 if mask.seqlens else 2
    shapes = [(batch, n, heads, head_width) for n, heads in ((num_queries, 4), (num_keys, groups), (num_keys, groups))]
    return [torch.randn(shape, generator=g).requires_grad_() for shape in shapes]


def same(out: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    """Equal to 1e-5, and the gradients, too."""
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad(x.sin().sum(), inputs) for x in (out, expected)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


@pytest.fixture(
    params=[
        (Mask(), 5, 5),
        (Mask(), 3, 7),
        (Mask(causal=True), 5, 5),
        (Mask(causal=True), 3, 7),
        (Mask(causal=True), 1, 7),
        (Mask(seqlens=(3, 3, 1, 6, 2)), 15, 15),
        (Mask(causal=True, seqlens=(3, 3, 1, 6, 2)), 15, 15),
        (Mask(causal=True, seqlens=(7,)), 7, 7),
        (Mask(seqlens=(1, 1, 2, 1, 1), key_seqlens=(4, 4, 3, 1, 5)), 6, 17),
    ],
    ids=str,
)
def mask_case(request: pytest.FixtureRequest) -> tuple[Mask, int, int]:
    """A mask with the number of queries and keys that it is for."""
    return request.param


@pytest.fixture(params=[4, 2, 1], ids="{} groups".format)
def groups(request: pytest.FixtureRequest) -> int:
    """Heads of keys and values, for four heads of queries."""
    return request.param


@pytest.fixture
def compare() -> Callable[..., None]:
    """Hold a way of computing attention against the formula, forward and backward."""

    def check(way: Callable[..., Tensor], mask: Mask, num_queries: int, num_keys: int, groups: int) -> None:
        qkv = random_qkv(mask, num_queries, num_keys, groups)
        same(way(*qkv, mask), formula(*qkv, mask), qkv)

    return check
