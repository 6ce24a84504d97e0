"""A CLIP that learns another's likenesses, in memory linear in the batch (as open_clip's DistillClipLoss).

# B pictures and their B texts, E and F embedding of student and teacher, R rows and S columns of a tile
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from calligram.clip.losses.exponents import add_log2_sums, weigh
from calligram.clip.losses.tiles import LN_2, LOG2_E, Tiles, eager, scale_gradient, slices, working_dtype


@eager
def distillation_loss(
    image_BE: Tensor,
    text_BE: Tensor,
    scale: Tensor,
    teacher_image_BF: Tensor,
    teacher_text_BF: Tensor,
    teacher_scale: Tensor,
) -> Tensor:
    """Cross-entropy between the softmax over scores of teacher and student, over texts and over pictures.

    The mean of both directions; gradients for the student alone, computed along with the value. The batch is that of
    this process.
    """
    inputs = (image_BE, text_BE, scale)
    wanted = tuple(torch.is_grad_enabled() and x.requires_grad for x in inputs)
    with torch.autocast(image_BE.device.type, enabled=False):
        dtype = working_dtype(image_BE, text_BE)
        teacher = (teacher_image_BF.detach().to(dtype), teacher_text_BF.detach().to(dtype), teacher_scale.detach())
        return _Distillation.apply(image_BE.to(dtype), text_BE.to(dtype), scale, *teacher, wanted)


class _Distillation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        image_BE: Tensor,
        text_BE: Tensor,
        scale: Tensor,
        teacher_image_BF: Tensor,
        teacher_text_BF: Tensor,
        teacher_scale: Tensor,
        wanted: tuple[bool, ...],
    ) -> Tensor:
        student, teacher = (image_BE, text_BE, scale), (teacher_image_BF, teacher_text_BF, teacher_scale)
        loss, ctx.gradients = _pass(student, teacher, wanted)
        ctx.save_for_backward(*student, *teacher)
        ctx.wanted = wanted
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:  # a second time: the first has taken them along
            with torch.autocast(gradient.device.type, enabled=False):
                saved = ctx.saved_tensors
                gradients = _pass(saved[:3], saved[3:], ctx.wanted)[1]
        return *(x if x is None else x.mul_(gradient) for x in gradients), None, None, None, None


Side = tuple[Tensor, Tensor, Tensor]


def _pass(student: Side, teacher: Side, wanted: tuple[bool, ...]) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The loss, and the gradients that are wanted of the student's features and scale."""
    image_BE, text_BE, scale = student
    num, factor, teacher_factor = len(image_BE), _base_2(student), _base_2(teacher)
    row_B, column_B = _log2_sums(student, factor)
    teacher_row_B, teacher_column_B = _log2_sums(teacher, teacher_factor)
    total = (row_B.sum() + column_B.sum()) * LN_2
    image_gradient_BE = torch.zeros_like(image_BE) if any(wanted) else None
    text_gradient_BE = torch.zeros_like(text_BE) if any(wanted) else None
    tiles, others = Tiles(image_BE), Tiles(image_BE)
    for rows in slices(num, tiles.size):
        x_RE, teacher_x_RF = image_BE[rows] * factor, teacher[0][rows] * teacher_factor
        for columns in slices(num, tiles.size):
            goal_RS = others.product(teacher_x_RF, teacher[1][columns])
            goal_RS = _both_softmaxes(goal_RS, teacher_row_B[rows], teacher_column_B[columns], others)
            scores_RS = tiles.product(x_RE, text_BE[columns])
            total -= torch.mul(goal_RS, scores_RS, out=tiles.buffer(*scores_RS.shape)).sum().double() * LN_2
            if image_gradient_BE is not None and text_gradient_BE is not None:
                weights_RS = _both_softmaxes(scores_RS, row_B[rows], column_B[columns], tiles).sub_(goal_RS)
                image_gradient_BE[rows].addmm_(weights_RS, text_BE[columns])
                text_gradient_BE[columns].addmm_(weights_RS.T, x_RE, alpha=LN_2 / (2 * num))
    loss = (total / (2 * num)).to(image_BE.dtype)
    if image_gradient_BE is None:
        return loss, (None, None, None)
    image_gradient_BE.mul_(scale / (2 * num))
    gradients = (image_gradient_BE, text_gradient_BE, scale_gradient(image_BE, image_gradient_BE, scale))
    return loss, tuple(x if wants else None for x, wants in zip(gradients, wanted, strict=True))


def _base_2(side: Side) -> Tensor:
    return (side[2].double() * LOG2_E).to(side[0].dtype)


def _log2_sums(side: Side, factor: Tensor) -> tuple[Tensor, Tensor]:
    """log2 of the sums of 2^score over rows and over columns, in fp64."""
    image_BE, text_BE, _ = side
    row_B, column_B = (image_BE.new_full((len(image_BE),), -torch.inf, dtype=torch.double) for _ in range(2))
    tiles = Tiles(image_BE)
    for rows in slices(len(image_BE), tiles.size):
        x_RE = image_BE[rows] * factor
        for columns in slices(len(text_BE), tiles.size):
            scores_RS = tiles.product(x_RE, text_BE[columns])
            add_log2_sums(scores_RS, row_B[rows], column_B[columns], tiles)
    return row_B, column_B


def _both_softmaxes(scores_RS: Tensor, row_R: Tensor, column_S: Tensor, tiles: Tiles) -> Tensor:
    """The softmax over texts plus that over pictures, in place of the scores."""
    return weigh(scores_RS, row_R, torch.ones_like(row_R), column_S, torch.ones_like(column_S), tiles)
