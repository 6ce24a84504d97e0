"""Attention under a :class:`calligram.nn.picture_mask.PictureMask`, which computes what is seen and little else.

# B batch, M queries, N keys, T places for text, S = T + image tokens, R rows and C columns of the grid
# H heads, G heads of keys and values, K head width, W keys of a block
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from calligram.nn.eager import eager
from calligram.nn.picture_mask import Kind, PictureMask, distances, seen_by


@eager
def picture_attention(q_BMHK: Tensor, k_BNGK: Tensor, v_BNGK: Tensor, mask: PictureMask) -> Tensor:
    """PyTorch's attention under the mask, (B, M, H, K): on a CPU in blocks of the picture's rows or columns.

    Where a few tokens are added to many, only the keys that any of them sees are read.
    """
    if mask.lengths is not None:
        return _packed(q_BMHK, k_BNGK, v_BNGK, mask)
    num_queries, num_keys, num_text = q_BMHK.shape[1], k_BNGK.shape[1], mask.num_text
    first = num_keys - num_queries
    if first == 0 and num_keys > num_text and _blocks_pay(mask, q_BMHK.device):
        text = _dense(q_BMHK[:, :num_text], k_BNGK[:, :num_text], v_BNGK[:, :num_text], mask)
        return torch.cat([text, _blocks(q_BMHK[:, num_text:], k_BNGK, v_BNGK, mask)], 1)
    if first >= num_text and mask.kind != "full":
        return _few(q_BMHK, k_BNGK, v_BNGK, mask)
    return _dense(q_BMHK, k_BNGK, v_BNGK, mask)


def _dense(q_BMHK: Tensor, k_BNGK: Tensor, v_BNGK: Tensor, mask: PictureMask) -> Tensor:
    return _sdpa(q_BMHK, k_BNGK, v_BNGK, mask.matrix(q_BMHK.shape[1], k_BNGK.shape[1], q_BMHK.device))


def _few(q_BMHK: Tensor, k_BNGK: Tensor, v_BNGK: Tensor, mask: PictureMask) -> Tensor:
    """Image tokens behind a filled cache."""
    num_keys, device = k_BNGK.shape[1], q_BMHK.device
    index_n, sees = seen_by(mask.kind, mask.num_text, mask.grid, mask.kernel, q_BMHK.shape[1], num_keys, device)
    if len(index_n) < num_keys:
        k_BNGK, v_BNGK = k_BNGK.index_select(1, index_n), v_BNGK.index_select(1, index_n)
    if mask.skip_B is not None:
        real = (index_n >= mask.skip_B[:, None])[:, None, None]
        sees = real if sees is None else sees & real
    return _sdpa(q_BMHK, k_BNGK, v_BNGK, sees)


def _blocks_pay(mask: PictureMask, device: torch.device) -> bool:
    return mask.kind != "full" and device.type == "cpu"


def _blocks(q_BIHK: Tensor, k_BSGK: Tensor, v_BSGK: Tensor, mask: PictureMask) -> Tensor:
    """All image tokens: each row of them over the text and the few rows above it that it sees any of.

    Of columns likewise, once the picture is turned over.
    """
    num_image, grid, num_text = q_BIHK.shape[1], mask.grid, mask.num_text
    num_rows = -(-num_image // grid)
    turned = mask.kind == "column"
    above = 0 if turned else _rows_above(mask.kind, grid, mask.kernel, num_rows)

    def lines(x_BIHK: Tensor) -> Tensor:
        whole = F.pad(x_BIHK, (0, 0, 0, 0, 0, num_rows * grid - num_image)).unflatten(1, (num_rows, grid))
        return whole.transpose(1, 2) if turned else whole

    def keys(x_BSGK: Tensor) -> Tensor:
        text, picture = x_BSGK[:, :num_text], lines(x_BSGK[:, num_text:])
        number = picture.shape[1]
        bands = [F.pad(picture, (0, 0, 0, 0, 0, 0, back, 0))[:, :number] for back in range(above, -1, -1)]
        return torch.cat([text[:, None].expand(-1, number, -1, -1, -1), *bands], 2).flatten(0, 1)

    q = lines(q_BIHK)
    sees = _block_matrix(mask.kind, num_text, grid, mask.kernel, num_rows, q_BIHK.device)
    if mask.skip_B is not None:
        real_BT = torch.arange(num_text, device=q.device) >= mask.skip_B[:, None]
        sees = sees & F.pad(real_BT, (0, sees.shape[-1] - num_text), value=True)[:, None, None]
    sees = sees.expand(q.shape[0], *sees.shape[-3:]).flatten(0, 1)[:, None]
    out = _sdpa(q.flatten(0, 1), keys(k_BSGK), keys(v_BSGK), sees).unflatten(0, q.shape[:2])
    return (out.transpose(1, 2) if turned else out).flatten(1, 2)[:, :num_image]


def _rows_above(kind: Kind, grid: int, kernel: int, num_rows: int) -> int:
    """Rows above its own that a token sees any of; its row's first token sees furthest up."""
    return min(num_rows - 1, -(-distances(kind, grid, kernel)[-1] // grid))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # the next to ask may need gradients
def _block_matrix(kind: Kind, num_text: int, grid: int, kernel: int, num_rows: int, device: torch.device) -> Tensor:
    """Who of a row sees what of the text and of the rows above and its own: (R, C, W); columns: (C, R, T + R)."""
    if kind == "column":
        sees = torch.ones(grid, num_rows, num_rows, dtype=torch.bool).tril()
    else:
        above = _rows_above(kind, grid, kernel, num_rows)
        token_R1C = torch.arange(num_rows * grid).view(num_rows, 1, grid)
        rows_RA = torch.arange(num_rows)[:, None] + torch.arange(-above, 1)
        key_RW = (rows_RA[..., None] * grid + torch.arange(grid)).flatten(1)
        back_RCW = token_R1C.transpose(1, 2) - key_RW[:, None]
        looks = torch.zeros(num_rows * grid + 1, dtype=torch.bool)
        seen = torch.tensor(distances(kind, grid, kernel))
        looks[seen[seen < num_rows * grid]] = True
        sees = (back_RCW >= 0) & (key_RW >= 0)[:, None] & looks[back_RCW.clamp(0, num_rows * grid)]
    return F.pad(sees, (num_text, 0), value=True).to(device)


def _packed(q_1NHK: Tensor, k_1NGK: Tensor, v_1NGK: Tensor, mask: PictureMask) -> Tensor:
    """Sequences of text and picture, one behind the other: a row each, with empty places before the shorter texts."""
    lengths = mask.lengths or ()
    num_text, device = max(lengths), q_1NHK.device
    skip_B = num_text - torch.tensor(lengths)
    place_S = torch.arange(num_text + mask.num_image)
    (index_N,) = (place_S >= skip_B[:, None]).flatten().nonzero(as_tuple=True)
    index_N = index_N.to(device)

    def rows(x_1NHK: Tensor) -> Tensor:
        empty = x_1NHK.new_zeros(len(lengths) * len(place_S), *x_1NHK.shape[2:])
        return empty.index_copy(0, index_N, x_1NHK[0]).unflatten(0, (len(lengths), -1))

    unpacked = PictureMask(mask.kinds, num_text, mask.grid, mask.kernel, skip_B.to(device), kind=mask.kind)
    out = picture_attention(rows(q_1NHK), rows(k_1NGK), rows(v_1NGK), unpacked)
    return out.flatten(0, 1)[index_N][None]


def _sdpa(q_BMHK: Tensor, k_BNGK: Tensor, v_BNGK: Tensor, sees: Tensor | None) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q_BMHK, k_BNGK, v_BNGK))
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=sees, enable_gqa=grouped).transpose(1, 2)
