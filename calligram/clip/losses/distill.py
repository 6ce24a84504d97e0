"""A CLIP that learns another's likenesses, in memory linear in the batch (as open_clip's DistillClipLoss).

# B pictures of this process and their B texts, E and F embedding of student and teacher, R rows and S columns of a tile
"""

from functools import partial

import torch
from torch import Tensor

from calligram.clip.losses.at_once import Gradients, Wanted, at_once
from calligram.clip.losses.exponents import add_log2_sums, weigh
from calligram.clip.losses.ring import ALONE, Ring, Tensors, travel
from calligram.clip.losses.tiles import LN_2, LOG2_E, Tiles, eager, scale_gradient, slices, working_dtype


@eager
def distillation_loss(
    image_BE: Tensor,
    text_BE: Tensor,
    scale: Tensor,
    teacher_image_BF: Tensor,
    teacher_text_BF: Tensor,
    teacher_scale: Tensor,
    ring: Ring = ALONE,
) -> Tensor:
    """Cross-entropy between the softmax over scores of teacher and student, over texts and over pictures.

    The mean of both directions; gradients for the student alone, computed along with the value. Over a ``ring`` the
    texts of all processes count, all have to weigh the loss alike, and the mean of the processes' losses is that of
    one process with the whole batch.
    """
    with torch.autocast(image_BE.device.type, enabled=False):
        dtype = working_dtype(image_BE, text_BE)
        teacher = (teacher_image_BF.detach().to(dtype), teacher_text_BF.detach().to(dtype), teacher_scale.detach())
        compute = partial(_pass, teacher=teacher, ring=ring)
        return at_once(compute, (image_BE.to(dtype), text_BE.to(dtype), scale))[0]


def _pass(student: Tensors, wanted: Wanted, teacher: Tensors, ring: Ring) -> tuple[Tensor, tuple[()], Gradients]:
    """The loss, and the gradients that are wanted of the student's features and scale."""
    image_BE, text_BE, scale = student
    num, of_image, of_text = len(image_BE), wanted[0] or (wanted[2] and not wanted[1]), wanted[1]
    rows_2B, columns_2B = _log2_sums(student, teacher, ring)
    total = (rows_2B[0].sum() + columns_2B[0].sum()) * LN_2
    image_gradient_BE = torch.zeros_like(image_BE) if of_image else None
    text_gradient = (torch.zeros_like(text_BE),) if of_text else ()
    images, factors = (image_BE, teacher[0]), (_base_2(student), _base_2(teacher))

    def add(fixed: Tensors, carried: Tensors) -> None:
        *texts, their_columns_2B = fixed
        tiles, others = Tiles(image_BE), Tiles(image_BE)
        for rows in slices(num, tiles.size):
            x_RE, teacher_x_RF = (x[rows] * factor for x, factor in zip(images, factors, strict=True))
            for columns in slices(num, tiles.size):
                sums = [(rows_2B[i, rows], their_columns_2B[i, columns]) for i in (0, 1)]
                goal_RS = _both_softmaxes(others.product(teacher_x_RF, texts[1][columns]), *sums[1], others)
                scores_RS = tiles.product(x_RE, texts[0][columns])
                products_RS = torch.mul(goal_RS, scores_RS, out=tiles.buffer(*scores_RS.shape))
                total.sub_(products_RS.sum().double() * LN_2)
                if not any(wanted):
                    continue
                weights_RS = _both_softmaxes(scores_RS, *sums[0], tiles).sub_(goal_RS)
                if image_gradient_BE is not None:
                    image_gradient_BE[rows].addmm_(weights_RS, texts[0][columns])
                for gradient_BE in carried:
                    gradient_BE[columns].addmm_(weights_RS.T, x_RE, alpha=LN_2 / (2 * num))

    text_gradient = travel(ring, (text_BE, teacher[1], columns_2B), text_gradient, add)
    if image_gradient_BE is not None:
        image_gradient_BE.mul_(scale / (2 * num))
    of_scale = None
    if wanted[2]:
        pair = (text_BE, text_gradient[0]) if image_gradient_BE is None else (image_BE, image_gradient_BE)
        of_scale = scale_gradient(*pair, scale)
    gradients = (image_gradient_BE if wanted[0] else None, *(text_gradient or (None,)), of_scale)
    return (total / (2 * num)).to(image_BE.dtype), (), gradients


def _base_2(side: Tensors) -> Tensor:
    return (side[2].double() * LOG2_E).to(side[0].dtype)


def _log2_sums(student: Tensors, teacher: Tensors, ring: Ring) -> tuple[Tensor, Tensor]:
    """log2 of the sums of 2^score over rows and over columns, of student and teacher: twice (2, B), in fp64."""
    lowest_2B = student[0].new_full((2, len(student[0])), -torch.inf, dtype=torch.double)
    rows_2B = lowest_2B.clone()

    def add(fixed: Tensors, carried: Tensors) -> None:
        for side, text, row_B, column_B in zip((student, teacher), fixed, rows_2B, carried[0], strict=True):
            factor, tiles = _base_2(side), Tiles(side[0])
            for rows in slices(len(text), tiles.size):
                x_RE = side[0][rows] * factor
                for columns in slices(len(text), tiles.size):
                    add_log2_sums(tiles.product(x_RE, text[columns]), row_B[rows], column_B[columns], tiles)

    (columns_2B,) = travel(ring, (student[1], teacher[1]), (lowest_2B,), add)
    return rows_2B, columns_2B


def _both_softmaxes(scores_RS: Tensor, row_R: Tensor, column_S: Tensor, tiles: Tiles) -> Tensor:
    """The softmax over texts plus that over pictures, in place of the scores."""
    return weigh(scores_RS, row_R, torch.ones_like(row_R), column_S, torch.ones_like(column_S), tiles)
