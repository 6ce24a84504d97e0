"""CLIP's loss, in memory linear in the batch (the idea: Inf-CL, arXiv 2410.17243).

# B pictures of this process, C texts of this process: those of the pictures and then false ones; E embedding
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from calligram.clip.losses.exponents import add_log2_sums, weigh
from calligram.clip.losses.labels import sort_by_label
from calligram.clip.losses.ring import ALONE, Ring, Tensors, anywhere, travel
from calligram.clip.losses.tiles import LN_2, LOG2_E, Tile, Tiles, eager, scale_gradient, working_dtype

FINE_TILE = 256  # where only tiles with positives are needed, smaller ones leave more out


@eager
def softmax_loss(
    image_BE: Tensor, text_CE: Tensor, scale: Tensor, label_C: Tensor, ring: Ring = ALONE
) -> tuple[Tensor, Tensor]:
    """InfoNCE (arXiv 1807.03748) in both directions, their mean, and the share of pictures that find their text.

    Text i < B belongs to picture i; the texts from B on are false ones, which only pictures are set against. Texts
    with the same label are the same, and so positives of each other's pictures. Each positive is set against the
    negatives alone, −log(e^p / (e^p + Σ e^n)), and a picture's or text's loss is the mean over its positives: they do
    not compete with each other, as they do under a target that is uniform over them. Where all labels differ this
    is CLIP's loss (arXiv 2103.00020).

    A picture finds its text where a positive is nearer than every negative. Over a ``ring`` of processes all texts
    count, labels have to agree, and the mean of the processes' losses is that of one process with the whole batch.
    """
    # out of autocast: bf16 has 8 bits, which at a scale of 100 would round the logits to halves
    with torch.autocast(image_BE.device.type, enabled=False):
        dtype = working_dtype(image_BE, text_CE)
        image_BE, text_CE, label_C = sort_by_label(image_BE.to(dtype), text_CE.to(dtype), label_C)
        return _Softmax.apply(image_BE, text_CE, scale, label_C, ring)


class _Side(NamedTuple):
    """What rows, or columns, have to be told for their gradient, in fp64; N of them, as one tensor (3, N)."""

    negatives_N: Tensor  # log2 of the sum of 2^score over the negatives
    push_N: Tensor  # weight of the softmax over the negatives
    pull_N: Tensor  # weight of each positive

    @classmethod
    def of(cls, negatives_N: Tensor, found_3N: Tensor) -> "_Side":
        _, share_N, count_N = found_3N.double()
        lonely_N = negatives_N == -torch.inf
        idle_N = lonely_N | (count_N == 0)  # without negatives, or positives, there is nothing to gain
        weights = (x.masked_fill(idle_N, 0) for x in (share_N / count_N, 1 / count_N))
        return cls(negatives_N.masked_fill(lonely_N, 0), *weights)

    def times(self, factor: Tensor) -> "_Side":
        return _Side(self.negatives_N, self.push_N * factor, self.pull_N * factor)

    def part(self, n: slice) -> "_Side":
        return _Side(*(x[n] for x in self))


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image_BE: Tensor, text_CE: Tensor, scale: Tensor, label_C: Tensor, ring: Ring
    ) -> tuple[Tensor, Tensor]:
        num, factor, label_B = len(image_BE), (scale.double() * LOG2_E).to(image_BE.dtype), label_C[: len(image_BE)]
        lowest_B, lowest_C = (x.new_full((len(x),), -torch.inf, dtype=torch.double) for x in (image_BE, text_CE))
        negatives_B, nearest_2B = lowest_B, image_BE.new_full((2, num), -torch.inf)
        found_3B, found_3C = image_BE.new_zeros(3, num), image_BE.new_zeros(3, len(text_CE))
        meets = [False]

        def see_negatives(fixed: Tensors, carried: Tensors) -> None:
            theirs_CE, theirs_C = fixed
            meets.append(theirs_CE is not text_CE and bool(torch.isin(label_B, theirs_C).any()))
            tiles = Tiles(image_BE)
            for tile in tiles.walk(image_BE, factor, theirs_CE, label_B, theirs_C):
                _add_negatives(tile, tiles, negatives_B, carried[0], nearest_2B[0])

        (negatives_C,) = travel(ring, (text_CE, label_C), (lowest_C,), see_negatives)

        def see_positives(fixed: Tensors, carried: Tensors) -> None:
            theirs_CE, theirs_C, their_negatives_C = fixed
            tiles = Tiles(image_BE, FINE_TILE)
            for tile in tiles.walk(image_BE, factor, theirs_CE, label_B, theirs_C, "shared"):
                _add_positives(tile, negatives_B, their_negatives_C, found_3B, carried[0], nearest_2B[1])

        around = ring if anywhere(ring, any(meets), image_BE.device) else ALONE  # no positives elsewhere: stay
        (found_3C,) = travel(around, (text_CE, label_C, negatives_C), (found_3C,), see_positives)
        losses = [(found_3N[0, :num] / found_3N[2, :num]).mean() for found_3N in (found_3B, found_3C)]

        found_3C[:, num:] = 0  # no text is drawn to, or pushed from, a picture by being a false one's column
        ctx.save_for_backward(image_BE, text_CE, scale, factor, label_C)
        ctx.row, ctx.column, ctx.ring = _Side.of(negatives_B, found_3B), _Side.of(negatives_C, found_3C), ring
        accuracy = (nearest_2B[1] > nearest_2B[0]).to(image_BE.dtype).mean()
        ctx.mark_non_differentiable(accuracy)
        return (losses[0] + losses[1]) / 2, accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        image_BE, text_CE, scale, factor, label_C = ctx.saved_tensors
        of_image, of_text, of_scale = ctx.needs_input_grad[:3]
        label_B, share = label_C[: len(image_BE)], gradient / 2 / len(image_BE)
        row: _Side = ctx.row.times(share)
        column_3C = torch.stack(ctx.column.times(share))
        image_gradient_BE = torch.zeros_like(image_BE) if of_image or not of_text else None
        text_gradient = (torch.zeros_like(text_CE),) if of_text else ()

        def add_gradients(fixed: Tensors, carried: Tensors) -> None:
            theirs_CE, theirs_C, their_column_3C = fixed
            tiles, column = Tiles(image_BE), _Side(*their_column_3C)
            for tile in tiles.walk(image_BE, factor, theirs_CE, label_B, theirs_C):
                weights_RS = _weights(tile, tiles, row.part(tile.rows), column.part(tile.columns))
                if image_gradient_BE is not None:
                    image_gradient_BE[tile.rows].addmm_(weights_RS, theirs_CE[tile.columns])
                for gradient_CE in carried:
                    gradient_CE[tile.columns].addmm_(weights_RS.T, tile.x_RE, alpha=LN_2)

        with torch.autocast(image_BE.device.type, enabled=False):
            text_gradient = travel(ctx.ring, (text_CE, label_C, column_3C), text_gradient, add_gradients)
            if image_gradient_BE is not None:
                image_gradient_BE.mul_(scale)
            pair = (text_CE, text_gradient[0]) if image_gradient_BE is None else (image_BE, image_gradient_BE)
            of_the_scale = scale_gradient(*pair, scale) if of_scale else None
        return image_gradient_BE if of_image else None, *(text_gradient or (None,)), of_the_scale, None, None


def _add_negatives(tile: Tile, tiles: Tiles, negatives_B: Tensor, negatives_C: Tensor, nearest_B: Tensor) -> None:
    if tile.same_RS is not None:
        tile.scores_RS.masked_fill_(tile.same_RS, -torch.inf)
    top_R = add_log2_sums(tile.scores_RS, negatives_B[tile.rows], negatives_C[tile.columns], tiles)
    nearest_B[tile.rows] = torch.maximum(nearest_B[tile.rows], top_R)


def _add_positives(
    tile: Tile, negatives_B: Tensor, negatives_C: Tensor, found_3B: Tensor, found_3C: Tensor, nearest_B: Tensor
) -> None:
    """Add a tile's losses of positives, their shares (derivative of a loss by the negatives) and numbers."""
    scores_RS, same_RS = tile.scores_RS, tile.same_RS
    assert same_RS is not None
    top_R = scores_RS.masked_fill(~same_RS, -torch.inf).amax(1)
    nearest_B[tile.rows] = torch.maximum(nearest_B[tile.rows], top_R)
    for dim, negatives_N, found_3N in (
        (1, negatives_B[tile.rows], found_3B[:, tile.rows]),
        (0, negatives_C[tile.columns], found_3C[:, tile.columns]),
    ):
        margin_RS = _margin(scores_RS, negatives_N.unsqueeze(dim))
        found_3N[0] += F.softplus(margin_RS, threshold=50).mul_(same_RS).sum(dim)
        found_3N[1] += margin_RS.sigmoid_().mul_(same_RS).sum(dim)
        found_3N[2] += same_RS.sum(dim)


def _margin(scores_RS: Tensor, negatives: Tensor) -> Tensor:
    """ln Σ e^n − p, where the first comes in base 2 and fp64: its whole part is taken off first, without rounding."""
    whole = negatives.round()
    rest = torch.where(negatives == whole, 0, negatives - whole)  # −inf, no negatives at all, has no rest
    return (whole.to(scores_RS.dtype) - scores_RS).add_(rest.to(scores_RS.dtype)).mul_(LN_2)


def _weights(tile: Tile, tiles: Tiles, row: _Side, column: _Side) -> Tensor:
    """The derivatives of the loss by the scores (in base e), in place of the scores."""
    scores_RS, same_RS, dtype = tile.scores_RS, tile.same_RS, tile.scores_RS.dtype
    pulls_RS = None
    if same_RS is not None:
        pulls_RS = _margin(scores_RS, row.negatives_N[:, None]).sigmoid_().mul_(row.pull_N[:, None].to(dtype))
        pulls_RS += _margin(scores_RS, column.negatives_N).sigmoid_().mul_(column.pull_N.to(dtype))
        scores_RS.masked_fill_(same_RS, -torch.inf)
    weights_RS = weigh(scores_RS, row.negatives_N, row.push_N, column.negatives_N, column.push_N, tiles)
    return weights_RS if same_RS is None or pulls_RS is None else torch.where(same_RS, -pulls_RS, weights_RS)
