"""Attention under a :class:`calligram.nn.picture_mask.PictureMask`, which computes what is seen and little else.

# B batch, M queries, N keys, T places for text, I image tokens, S = T + I, R rows and C columns of the grid
# H heads, G heads of keys and values, K head width, L lines, W image tokens that a line sees any of
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
    if first == 0 and num_keys > num_text and _blocks_pay(mask, num_keys - num_text, q_BMHK.device):
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


def _blocks_pay(mask: PictureMask, num_image: int, device: torch.device) -> bool:
    """Where the mask leaves so little that it is quicker to compute that alone.

    Measured on a CPU, forward and backward, milliseconds in blocks and with the mask written out: 8 × 8 tokens behind
    16 of text, 32 rows of 4 heads of 32: row 17 and 13, column 15 and 13, convolution 39 and 14; 16 × 16 behind 32,
    8 rows of 8 heads of 64: 74 and 88, 48 and 101, 158 and 95; 32 × 32 behind 256, 2 rows: 156 and 462, 118 and 440,
    275 and 456.
    """
    if mask.kind == "full" or device.type != "cpu" or num_image < 200:
        return False
    num_rows = -(-num_image // mask.grid)
    above = _rows_above(mask.kind, mask.grid, mask.kernel, num_rows)
    near = num_rows if mask.kind == "column" else (above + 1) * mask.grid
    return mask.num_text + near <= 0.4 * (mask.num_text + num_image)


def _blocks(q_BIHK: Tensor, k_BSGK: Tensor, v_BSGK: Tensor, mask: PictureMask) -> Tensor:
    """All image tokens: each line of them, a row or a column, over the text and over the few lines that it sees any of.

    Two products of queries and keys and one softmax over both: the text's keys are not copied for each line.
    """
    num_text, lines = mask.num_text, _Lines(mask, q_BIHK.shape[1])
    share = q_BIHK.shape[2] // k_BSGK.shape[2]
    k_BSHK, v_BSHK = (x.repeat_interleave(share, 2) if share > 1 else x for x in (k_BSGK, v_BSGK))
    k_text, v_text = (x[:, :num_text].transpose(1, 2) for x in (k_BSHK, v_BSHK))
    k_near, v_near = (lines.near(x[:, num_text:]) for x in (k_BSHK, v_BSHK))
    q_BHLCK = lines.cut(q_BIHK).permute(0, 3, 1, 2, 4) / q_BIHK.shape[-1] ** 0.5
    of_text = (q_BHLCK.flatten(2, 3) @ k_text.mT).unflatten(2, q_BHLCK.shape[2:4])
    if mask.skip_B is not None:
        real_BT = torch.arange(num_text, device=q_BIHK.device) >= mask.skip_B[:, None]
        of_text = of_text.masked_fill(~real_BT[:, None, None, None], -torch.inf)
    unseen = _unseen(mask.kind, mask.grid, mask.kernel, lines.number, q_BIHK.device)
    of_near = (q_BHLCK @ k_near.mT).masked_fill(unseen, -torch.inf)
    scores = torch.cat([of_text, of_near], -1)
    weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v_text.dtype)
    out = (weights[..., :num_text].flatten(2, 3) @ v_text).view_as(q_BHLCK) + weights[..., num_text:] @ v_near
    return lines.join(out.permute(0, 2, 3, 1, 4))


class _Lines:
    """A picture's tokens as rows or, where a token sees its column, as columns: (B, L lines, C tokens, H, K)."""

    def __init__(self, mask: PictureMask, num_image: int):
        self.num_image, self.grid, self.turned = num_image, mask.grid, mask.kind == "column"
        self.number = -(-num_image // mask.grid)  # of rows
        self.above = 0 if self.turned else _rows_above(mask.kind, mask.grid, mask.kernel, self.number)

    def cut(self, x_BIHK: Tensor) -> Tensor:
        missing = self.number * self.grid - self.num_image
        rows = F.pad(x_BIHK, (0, 0, 0, 0, 0, missing)).unflatten(1, (self.number, self.grid))
        return rows.transpose(1, 2) if self.turned else rows

    def near(self, x_BIHK: Tensor) -> Tensor:
        """Of each line the tokens of those above that it sees any of, and its own: (B, H, L, W, K)."""
        picture = self.cut(x_BIHK)
        number = picture.shape[1]
        bands = [F.pad(picture, (0, 0, 0, 0, 0, 0, back, 0))[:, :number] for back in range(self.above, -1, -1)]
        return torch.cat(bands, 2).permute(0, 3, 1, 2, 4)

    def join(self, x_BLCHK: Tensor) -> Tensor:
        """``cut`` undone."""
        return (x_BLCHK.transpose(1, 2) if self.turned else x_BLCHK).flatten(1, 2)[:, : self.num_image]


def _rows_above(kind: Kind, grid: int, kernel: int, num_rows: int) -> int:
    """Rows above its own that a token sees any of; its row's first token sees furthest up."""
    return min(num_rows - 1, -(-distances(kind, grid, kernel)[-1] // grid))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # the next to ask may need gradients
def _unseen(kind: Kind, grid: int, kernel: int, num_rows: int, device: torch.device) -> Tensor:
    """What a token does not see of the rows above and its own, (R, C, W); of its column, (1, R, R)."""
    if kind == "column":
        return ~torch.ones(1, num_rows, num_rows, dtype=torch.bool, device=device).tril()
    above = _rows_above(kind, grid, kernel, num_rows)
    token_R1C = torch.arange(num_rows * grid).view(num_rows, 1, grid)
    rows_RA = torch.arange(num_rows)[:, None] + torch.arange(-above, 1)
    key_RW = (rows_RA[..., None] * grid + torch.arange(grid)).flatten(1)
    back_RCW = token_R1C.transpose(1, 2) - key_RW[:, None]
    looks = torch.zeros(num_rows * grid + 1, dtype=torch.bool)
    seen = torch.tensor(distances(kind, grid, kernel))
    looks[seen[seen < num_rows * grid]] = True
    return ~((back_RCW >= 0) & (key_RW >= 0)[:, None] & looks[back_RCW.clamp(0, num_rows * grid)]).to(device)


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
